"""remuda.node"""
