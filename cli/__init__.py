"""remuda.cli"""
