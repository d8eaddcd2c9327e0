"""remuda.config"""
