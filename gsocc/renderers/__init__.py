"""Renderers: one seam, `build_renderer(name, **options).render(scene, rig) -> RenderOutput`, and several backends."""

from typing import Any

from gsocc.renderers.base import Renderer, RendererError
from gsocc.renderers.splat_cpu import SplatCpu
from gsocc.renderers.splat_gsplat import SplatGsplat
from gsocc.renderers.splat_torch import SplatTorch
from gsocc.renderers.volume import Volume
from gsocc.renderers.volume_cpu import VolumeCpu

RENDERERS: dict[str, type[Renderer]] = {
    "splat_cpu": SplatCpu,
    "splat_gsplat": SplatGsplat,
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
        RendererError: (a ValueError) where the name or an option is not known, or a value is out of range.
        MissingExtraError: Where the machine lacks what the renderer needs.
    """
    if name not in RENDERERS:
        raise RendererError(f"renderer.name: expected one of {', '.join(RENDERERS)}, got {name!r}")
    factory = RENDERERS[name]
    known = factory.option_names()
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise RendererError(f"renderer {name!r} has no option {unknown[0]!r}; it takes {', '.join(known)}")
    return factory(**options)


__all__ = ["RENDERERS", "Renderer", "RendererError", "build_renderer"]
