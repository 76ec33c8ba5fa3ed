"""The engine: networks assembled, converted and stepped."""
