"""A snapshot of whatever the services say of themselves."""

from services.monitor.definition.loading import shipped
from services.monitor.status.assembly import MODEL_INFO, Figures, workers


class Said:
    """Samples of one moment."""

    def __init__(self, *series):
        self._series = series

    def points(self, selection, after, until):
        return []

    def current(self, selection):
        return [(labels, 1.0) for labels in self._series] if selection == MODEL_INFO else []


def test_two_models_of_one_instance_are_two_lines():
    """Fails if what is sorted holds the mappings of labels: they have no order."""
    said = Said({"instance": "127.0.0.1:7412", "model": "b"}, {"instance": "127.0.0.1:7412", "model": "a"})
    lines = workers(Figures.of(shipped(), said, 100.0), said)
    assert [(line.instance, line.model, line.engine) for line in lines] == [
        ("127.0.0.1:7412", "a", ""),
        ("127.0.0.1:7412", "b", ""),
    ]
