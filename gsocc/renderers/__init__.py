"""Renderers: one seam, `build_renderer(name, **options).render(scene, rig) -> RenderOutput`, and several backends."""

from typing import Any

from gsocc.renderers.base import Renderer
from gsocc.renderers.splat_cpu import SplatCpu
from gsocc.renderers.splat_torch import SplatTorch
from gsocc.renderers.volume import Volume
from gsocc.renderers.volume_cpu import VolumeCpu

RENDERERS: dict[str, type[Renderer]] = {
    "splat_cpu": SplatCpu,
    "splat_torch": SplatTorch,
    "volume": Volume,
    "volume_cpu": VolumeCpu,
}


def build_renderer(name: str, **options: Any) -> Renderer:
    """Return a renderer by name.

    Args:
        name: A key of `RENDERERS`.
        **options: Keyword arguments of that renderer.

    Raises:
        ValueError: Where the name or an option is not known, or an option's value is out of range.
    """
    if name not in RENDERERS:
        raise ValueError(f"renderer.name: expected one of {', '.join(RENDERERS)}, got {name!r}")
    factory = RENDERERS[name]
    known = factory.option_names()
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"renderer {name!r} has no option {unknown[0]!r}; it takes {', '.join(known)}")
    return factory(**options)


__all__ = ["RENDERERS", "Renderer", "build_renderer"]
