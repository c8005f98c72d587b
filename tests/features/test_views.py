"""What every feature view does, whichever it is: walked over the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from aigiscan.errors import DetectorError, InputError
from aigiscan.features import VIEWS, parse_view, view_class, view_from_saved
from aigiscan.features.base import FeatureView
from aigiscan.features.discrepancy import DiscrepancyView, TwinsView
from aigiscan.features.layers import LayersView
from aigiscan.features.views import ComponentsView, EmbeddingView, HeadsView

RNG = np.random.default_rng(0)
N, D = 7, 5
CHANNELS = {
    "embedding": RNG.normal(size=(N, D)).astype(np.float32),
    "heads": RNG.normal(size=(N, 3, 2, 4)).astype(np.float16),
    "blocks": RNG.normal(size=(N, 4, 6)).astype(np.float16),
    "sigma": RNG.random((N, 1)).astype(np.float32) + 1,
    "text": RNG.normal(size=(N, D)).astype(np.float32),
    "local": RNG.random((N, D)).astype(np.float32),
    "local_raw": RNG.random((N, D)).astype(np.float32),
    "objects": np.arange(N, dtype=np.float32) % 3,
    "twin": RNG.normal(size=(N, D)).astype(np.float32),
}
#: one of each kind; a new view is added here too
EXAMPLES: dict[str, FeatureView] = {
    "embedding": EmbeddingView(),
    "components": ComponentsView([0, 3], ["gan", "ldm"]),
    "discrepancy": DiscrepancyView("both", 0.5, 2, raw=True),
    "twins": TwinsView(),
    "layers": LayersView([3, 1], ["gan", "ldm"]),
    "heads": HeadsView([(2, 1), (0, 0)], RNG.normal(size=(2, 4, 3)), ["gan", "ldm"]),
}


class Only(Mapping):
    """Channels of which only the named ones may be read."""

    def __init__(self, names: tuple[str, ...], rows: slice = slice(None)) -> None:
        self.names, self.rows = names, rows

    def __getitem__(self, name: str) -> np.ndarray:
        assert name in self.names, f"the view reads {name} but does not declare it"
        return CHANNELS[name][self.rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def test_every_view_has_an_example() -> None:
    assert set(EXAMPLES) == set(VIEWS)


@pytest.mark.parametrize("kind", VIEWS)
def test_contract(kind: str) -> None:
    view, cls = EXAMPLES[kind], view_class(kind)
    assert isinstance(view, cls)
    assert cls.kind == kind
    assert cls.usage.partition(":")[0] == kind
    assert set(view.channels) <= set(CHANNELS)
    matrix = view.transform(Only(view.channels))
    names = view.columns([f"e:{i}" for i in range(D)])
    assert matrix.dtype == np.float32
    assert matrix.shape == (N, len(names))
    assert len(set(names)) == len(names)
    # an image's features do not depend on the others
    np.testing.assert_allclose(view.transform(Only(view.channels, slice(2, 4))), matrix[2:4], rtol=1e-6)


@pytest.mark.parametrize("kind", VIEWS)
def test_a_saved_view_is_the_same_view(kind: str) -> None:
    view = EXAMPLES[kind]
    again = view_from_saved(view.params(), view.arrays())
    assert type(again) is type(view)
    assert again.search_generators == view.search_generators
    assert again.channels == view.channels
    assert again.columns(list("abcde")) == view.columns(list("abcde"))
    np.testing.assert_array_equal(again.transform(CHANNELS), view.transform(CHANNELS))


@pytest.mark.parametrize("kind", VIEWS)
def test_names_are_refused_in_one_line(kind: str, tmp_path) -> None:
    with pytest.raises(InputError) as error:
        parse_view(f"{kind}:{tmp_path / 'there-is-none.yaml'}", {"name": "e"})
    assert "\n" not in str(error.value)
    if view_class(kind).usage != kind and kind != "discrepancy":  # something must follow the colon
        with pytest.raises(InputError, match=kind):
            parse_view(kind, {"name": "e"})


def test_unknown_views_name_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"moods is not known: use embedding, components:SELECTION.yaml, heads:"):
        parse_view("moods", {})
    with pytest.raises(DetectorError, match="update aigiscan"):
        view_from_saved({"kind": "moods"}, {})


def test_layers_by_number() -> None:
    view = parse_view("layers:2,0", {})
    np.testing.assert_array_equal(
        view.transform(CHANNELS), np.concatenate([CHANNELS["blocks"][:, 2], CHANNELS["blocks"][:, 0]], axis=1)
    )
    assert view.depth == 3  # nothing after layer 2 has to run
    assert view.columns([])[5:8] == ["layer:2:5", "layer:0:0", "layer:0:1"]
    for wrong in ("1,1", "-1"):
        with pytest.raises(InputError):
            parse_view(f"layers:{wrong}", {})
    with pytest.raises(InputError, match="layers 0 to 3"):
        parse_view("layers:4", {}).transform(CHANNELS)
