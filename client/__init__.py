"""remuda.client"""
