from classifier.engine.method_values import Flow, LiveUplink

class CythonMethod:
    def select(self, flow: Flow, uplinks: tuple[LiveUplink, ...], now: float) -> LiveUplink: ...
