"""Ego motion from optical flow and metric depth over all cameras: robust Gauss-Newton, six unknowns, no learning.

Where stage 1's pose network guesses a motion from images, this solves for the one that explains the flow with the
depth that the depth network predicts: the geometric read-out.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gsocc.geometry.projection import pixel_centers, unproject
from gsocc.geometry.se3 import invert_rigid
from gsocc.geometry.twist import twist_to_motion

_NEAR_M = 0.01  # nearer than this to its camera, or behind it, a moved point is seen nowhere
_SCORED_POINTS = 600  # pixels that guesses are compared on


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """How the solver proceeds; lengths in pixels of the flow.

    Attributes:
        guesses: Motions drawn from a handful of pixels each, of which the best is the start. From no motion alone,
            one frame in ten of the synthetic world ends in a wrong minimum, even with exact depth: where a near object
            passes and the flow fails, the far pixels outvote the rest.
        pixels_per_guess: Pixels that a guess is solved from; three would do without noise.
        start_width_px: Least width of the robust weight at first.
        start_width_share: Its width at first as a share of the median length of the flow, where that is more.
        final_width_px: The width at last.
        stages: Widths tried, in equal ratios.
        steps_per_stage: Gauss-Newton steps at each width.
        final_steps: Further steps at the last one.
        max_points: Pixels used at most; a regular subset of more than that.
        inlier_px: A pixel that the solution explains to within this is an inlier.
        min_inlier_share: A solution that explains a smaller share of the pixels is replaced by the prior.
    """

    guesses: int = 128
    pixels_per_guess: int = 5
    start_width_px: float = 2.0
    start_width_share: float = 0.4
    final_width_px: float = 0.4
    stages: int = 3
    steps_per_stage: int = 2
    final_steps: int = 3
    max_points: int = 4000
    inlier_px: float = 1.0
    min_inlier_share: float = 0.1


@dataclass(frozen=True)
class EgoMotion:
    """What the solver finds; nothing of it carries a gradient.

    Attributes:
        ego_motion: Takes points of the ego frame at the key frame to the ego frame at the other time; the prior where
            the solver gave up.
        covariance: Of the twist (metres, then radians) that acts from the left on `ego_motion`: the squared residual of
            the inliers times the inverse of the normal equations. Neighbouring flow vectors are not independent, so
            it is too small by about the number of pixels that share an error; it compares directions and frames.
        inlier_share: Share of the usable pixels that the motion explains, in [0, 1]; 0 where the solver gave up.
    """

    ego_motion: Float[Tensor, "B 4 4"]
    covariance: Float[Tensor, "B 6 6"]
    inlier_share: Float[Tensor, " B"]


@dataclass(frozen=True)
class _Problem:
    """Points of the ego frame with the pixels where they were found; N = V n."""

    points_ego: Float[Tensor, "B 3 N"]
    found_px: Float[Tensor, "B V 2 n"]
    ego_to_pixel: Float[Tensor, "B V 3 4"]
    usable: Bool[Tensor, "B V n"]


@dataclass(frozen=True)
class _Linearised:
    """The robust cost of a motion, and its normal equations."""

    motion: Float[Tensor, "B 4 4"]
    cost: Float[Tensor, " B"]
    normal: Float[Tensor, "B 6 6"]
    slope: Float[Tensor, "B 6"]
    squared_px: Float[Tensor, "B V n"]


@torch.no_grad()
def solve_ego_motion(
    flow_px: Float[Tensor, "B V 2 H W"],
    depth_m: Float[Tensor, "B V H W"],
    intrinsics: Float[Tensor, "B V 3 3"],
    cam_to_ego: Float[Tensor, "B V 4 4"],
    valid: Bool[Tensor, "B V H W"] | None = None,
    *,
    prior: Float[Tensor, "B 4 4"] | None = None,
    options: SolverOptions | None = None,
) -> EgoMotion:
    """Find the motion of the rig that explains the flow of all its cameras.

    Minimises ``sum rho(|p + flow - project(T X)|)`` over the rigid motion T, with X the pixel p unprojected by its
    depth, rho the Geman-McClure cost ``s^2 r^2 / (s^2 + r^2)`` whose width s shrinks from stage to stage, and steps
    ``T <- exp(twist) T``. It starts from the best of the prior and guesses drawn from few pixels each (RANSAC); a step
    that raises the cost is not taken but damped. The scale of the translation is that of the depth. Computes in
    float64; the guesses are drawn with a fixed seed, so equal input gives equal output, in any batch.

    Args:
        flow_px: What pixel p of the key frame shows appears at p + flow at the other time.
        depth_m: Depth of the key frame along the optical axis; pixels without a positive, finite one are left out.
        intrinsics: K in pixels of the flow.
        cam_to_ego: Camera poses, the same at both times.
        valid: False where the flow must not be used. Flow that leaves the image is left out anyway.
        prior: A first guess, and what to return where the solver gives up; no motion by default.
        options: How to proceed.
    """
    options = options or SolverOptions()
    problem = _pose_problem(flow_px, depth_m, intrinsics, cam_to_ego, valid, options.max_points)
    eye = torch.eye(4, dtype=torch.float64, device=flow_px.device).expand(flow_px.shape[0], 4, 4)
    start = eye if prior is None else prior.double()
    widths = _widths(problem, options)  # (stages, B)
    at = _linearise(problem, _best_guess(problem, start, widths[0], options), widths[0])
    damping = torch.full_like(at.cost, 1e-4)
    for stage, width in enumerate(widths):
        last = stage == len(widths) - 1
        at = _linearise(problem, at.motion, width)
        for _ in range(options.steps_per_stage + (options.final_steps if last else 0)):
            at, damping = _step(problem, at, width, damping)
    return _conclude(problem, at, start, options, flow_px.dtype)


def _pose_problem(
    flow_px: Float[Tensor, "B V 2 H W"],
    depth_m: Float[Tensor, "B V H W"],
    intrinsics: Float[Tensor, "B V 3 3"],
    cam_to_ego: Float[Tensor, "B V 4 4"],
    valid: Bool[Tensor, "B V H W"] | None,
    max_points: int,
) -> _Problem:
    views, height, width = depth_m.shape[1:]
    stride = 1
    while views * (-(-height // stride)) * (-(-width // stride)) > max_points:
        stride += 1
    thin = slice(stride // 2, None, stride)
    k, pose = intrinsics.double(), cam_to_ego.double()
    depth = depth_m.double()
    points_cam = unproject(depth, k)[..., thin, thin, :].flatten(2, 3).transpose(-1, -2)  # (B, V, 3, n)
    points_ego = pose[..., :3, :3] @ points_cam + pose[..., :3, 3:]
    centers = pixel_centers(height, width, depth.device, torch.float64).permute(2, 0, 1)
    found = (centers + flow_px.double())[..., thin, thin].flatten(-2)  # (B, V, 2, n)
    usable = torch.isfinite(points_ego).all(2) & (depth[..., thin, thin].flatten(-2) > 0)
    # A comparison with NaN is False, so flow that is not finite is left out here.
    usable &= ((found > 0) & (found < found.new_tensor([width, height])[:, None])).all(2)
    if valid is not None:
        usable &= valid[..., thin, thin].flatten(-2)
    points_ego = torch.where(usable[:, :, None], points_ego, torch.ones_like(points_ego))
    found = torch.where(usable[:, :, None], found, torch.zeros_like(found))
    return _Problem(points_ego.transpose(1, 2).flatten(2), found, k @ invert_rigid(pose)[..., :3, :], usable)


def _widths(problem: _Problem, options: SolverOptions) -> Float[Tensor, "stages B"]:
    """Return the widths of each batch item, from wide to narrow in equal ratios."""
    eye = torch.eye(4, dtype=torch.float64, device=problem.points_ego.device)
    here, _, _ = _project(problem, eye.expand(problem.points_ego.shape[0], 4, 4))
    length = (problem.found_px - here).norm(dim=2).masked_fill(~problem.usable, float("nan")).flatten(1)
    median = length.nanmedian(dim=1).values.nan_to_num(0.0)
    first = (median * options.start_width_share).clamp(min=options.start_width_px)
    share = torch.linspace(0.0, 1.0, options.stages, dtype=torch.float64, device=first.device)[:, None]
    return first ** (1.0 - share) * options.final_width_px**share


def _project(
    problem: _Problem, motion: Float[Tensor, "B 4 4"]
) -> tuple[Float[Tensor, "B V 2 n"], Float[Tensor, "B V n"], Float[Tensor, "B 3 V n"]]:
    """Return where the moved points are seen, their depth, and the moved points."""
    views = problem.usable.shape[1]
    moved = motion[:, :3, :3] @ problem.points_ego + motion[:, :3, 3:]  # (B, 3, N)
    moved = moved.unflatten(2, (views, -1))  # (B, 3, V, n)
    p = problem.ego_to_pixel
    homogeneous = p[..., :3] @ moved.transpose(1, 2) + p[..., 3:]  # (B, V, 3, n)
    z_m = homogeneous[:, :, 2]
    return homogeneous[:, :, :2] / z_m.clamp(min=_NEAR_M)[:, :, None], z_m, moved


def _best_guess(
    problem: _Problem, prior: Float[Tensor, "B 4 4"], width_px: Float[Tensor, " B"], options: SolverOptions
) -> Float[Tensor, "B 4 4"]:
    """Return the prior, or the motion solved from few random pixels that explains more of all pixels."""
    guesses = torch.cat([_draw_guesses(problem, options), prior[:, None]], 1)  # (B, G, 4, 4)
    views, count = problem.usable.shape[1:]
    thin = slice(None, None, max(1, views * count // _SCORED_POINTS))
    points = problem.points_ego.unflatten(2, (views, count))[..., thin].transpose(1, 2)  # (B, V, 3, k)
    to_pixel = problem.ego_to_pixel[:, None] @ guesses[:, :, None]  # (B, G, V, 3, 4)
    homogeneous = to_pixel[..., :3] @ points[:, None] + to_pixel[..., 3:]  # (B, G, V, 3, k)
    z_m = homogeneous[..., 2, :]
    seen = homogeneous[..., :2, :] / z_m.clamp(min=_NEAR_M)[..., None, :]
    squared = (problem.found_px[:, None, ..., thin] - seen).square().sum(-2)  # (B, G, V, k)
    square = width_px.square()[:, None, None, None]
    cost = torch.where(z_m > _NEAR_M, squared / (square + squared), torch.ones_like(squared))
    best = (cost * problem.usable[:, None, :, thin]).sum((2, 3)).argmin(1)
    return guesses[torch.arange(len(best), device=best.device), best]


def _draw_guesses(problem: _Problem, options: SolverOptions) -> Float[Tensor, "B G 4 4"]:
    """Solve for a motion from a few random usable pixels, many times over, by two plain Gauss-Newton steps."""
    batch, _, count = problem.usable.shape
    usable = problem.usable.flatten(1)  # (B, N)
    device = usable.device
    draw = torch.rand(options.guesses * options.pixels_per_guess, generator=torch.Generator().manual_seed(0)).to(device)
    first_usable = torch.argsort(usable.int(), dim=1, descending=True, stable=True)
    rank = (draw * usable.sum(1, keepdim=True)).long()  # (B, G k); 0 where nothing is usable
    pick = torch.gather(first_usable, 1, rank)
    points = torch.gather(problem.points_ego, 2, pick[:, None].expand(-1, 3, -1)).transpose(1, 2)  # (B, G k, 3)
    found = problem.found_px.transpose(2, 3).flatten(1, 2)
    found = torch.gather(found, 1, pick[..., None].expand(-1, -1, 2))
    rows = torch.arange(batch, device=device)[:, None]
    shape = (options.guesses, options.pixels_per_guess)
    to_pixel = problem.ego_to_pixel[rows, pick // count].unflatten(1, shape)  # (B, G, k, 3, 4)
    points, found = points.unflatten(1, shape), found.unflatten(1, shape)

    motion = torch.eye(4, dtype=torch.float64, device=device).expand(batch, options.guesses, 4, 4)
    for _ in range(2):
        moved = points @ motion[..., :3, :3].transpose(-1, -2) + motion[..., None, :3, 3]
        homogeneous = (to_pixel[..., :3] @ moved[..., None])[..., 0] + to_pixel[..., 3]
        z_m = homogeneous[..., 2:].clamp(min=_NEAR_M)
        seen = homogeneous[..., :2] / z_m
        by_point = (to_pixel[..., :2, :3] - seen[..., None] * to_pixel[..., 2:, :3]) / z_m[..., None]
        turned = torch.linalg.cross(moved[..., None, :].expand_as(by_point), by_point, dim=-1)
        jacobian = torch.cat([by_point, turned], -1).flatten(2, 3)  # (B, G, 2 k, 6)
        transposed = jacobian.transpose(-1, -2)
        twist = _solve(transposed @ jacobian, (transposed @ (found - seen).flatten(2)[..., None])[..., 0], 1e-4)
        # A guess from pixels that say too little may be anything; it must only stay a number.
        motion = twist_to_motion(twist.nan_to_num(0.0, 0.0, 0.0)) @ motion
    return motion


def _linearise(problem: _Problem, motion: Float[Tensor, "B 4 4"], width_px: Float[Tensor, " B"]) -> _Linearised:
    """Return cost and normal equations at a motion.

    With a = (P_u - u P_z) / z, the gradient of pixel coordinate u by the moved point X, the one by the twist (v, w),
    which acts on X as v + w x X, is (a, X x a).
    """
    seen, z_m, moved = _project(problem, motion)
    residual = problem.found_px - seen  # (B, V, 2, n)
    in_front = z_m > _NEAR_M
    squared = residual.square().sum(2)  # (B, V, n)
    square = width_px.square()[:, None, None]
    weight = (square / (square + squared)).square() * (problem.usable & in_front)
    # What falls behind its camera costs as much as any other point that is not explained at all.
    cost = torch.where(in_front, square * squared / (square + squared), square) * problem.usable
    p = problem.ego_to_pixel[..., :3]
    by_point = p[:, :, :2, :, None] - seen[:, :, :, None] * p[:, :, 2:, :, None]  # (B, V, 2, 3, n)
    by_point = by_point / z_m.clamp(min=_NEAR_M)[:, :, None, None]
    x = moved.transpose(1, 2)[:, :, None]  # (B, V, 1, 3, n)
    by_twist = torch.cat([by_point, torch.linalg.cross(x.expand_as(by_point), by_point, dim=3)], 3)  # (B, V, 2, 6, n)
    weighted = by_twist * weight[:, :, None, None]
    normal = (weighted @ by_twist.transpose(-1, -2)).sum((1, 2))
    slope = (weighted @ residual[..., None])[..., 0].sum((1, 2))
    return _Linearised(motion, cost.sum((1, 2)), normal, slope, squared.masked_fill(~in_front, float("inf")))


def _step(
    problem: _Problem, at: _Linearised, width_px: Float[Tensor, " B"], damping: Float[Tensor, " B"]
) -> tuple[_Linearised, Float[Tensor, " B"]]:
    """Take the damped Gauss-Newton step of those batch items whose cost it lowers; damp the others more."""
    twist = _solve(at.normal, at.slope, damping[:, None])
    new = _linearise(problem, twist_to_motion(twist) @ at.motion, width_px)
    better = new.cost < at.cost
    kept = [
        torch.where(better.view(-1, *[1] * (a.ndim - 1)), a, b)
        for a, b in zip(vars(new).values(), vars(at).values(), strict=True)
    ]
    return _Linearised(*kept), torch.where(better, damping * 0.1, damping * 30.0).clamp(1e-9, 1e3)


def _solve(
    normal: Float[Tensor, "*N 6 6"], slope: Float[Tensor, "*N 6"], damping: Float[Tensor, "*#N 1"] | float
) -> Float[Tensor, "*N 6"]:
    """Solve damped normal equations; without any equation the answer is zero."""
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    ridge = diagonal * damping + 1e-9 * diagonal.amax(-1, keepdim=True) + 1e-12
    return torch.linalg.solve_ex(normal + torch.diag_embed(ridge), slope).result


def _conclude(
    problem: _Problem, at: _Linearised, start: Float[Tensor, "B 4 4"], options: SolverOptions, dtype: torch.dtype
) -> EgoMotion:
    usable = problem.usable.sum((1, 2))  # (B,)
    inlier = (at.squared_px < options.inlier_px**2) & problem.usable
    share = inlier.sum((1, 2)) / usable.clamp(min=1)
    solved = (share >= options.min_inlier_share) & (usable >= 6) & torch.isfinite(at.motion).all(-1).all(-1)
    # Residuals have two components, the motion six unknowns.
    variance = (at.squared_px * inlier).nan_to_num(0.0).sum((1, 2)) / (2 * inlier.sum((1, 2)) - 6).clamp(min=1)
    eye = torch.eye(6, dtype=torch.float64, device=usable.device)
    normal = torch.where(solved[:, None, None], at.normal, eye)
    covariance = torch.linalg.inv_ex(normal).inverse * variance[:, None, None]
    covariance = torch.where(solved[:, None, None], covariance, torch.full_like(covariance, float("inf")) * eye)
    motion = torch.where(solved[:, None, None], at.motion, start)
    return EgoMotion(motion.to(dtype), covariance.to(dtype), torch.where(solved, share, 0.0).to(dtype))
