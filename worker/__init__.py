"""remuda.worker"""
