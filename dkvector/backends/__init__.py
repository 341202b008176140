"""The engines, one module each; nothing here is imported before it is asked for."""
