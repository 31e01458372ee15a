"""Flatten charts as rigidly as possible, each with one banded linear system.

Points of the plane are complex numbers here. Liu, Zhang, Xu, Gotsman and Gortler, "A Local/Global Approach to Mesh
Parameterization" (2008); instead of starting from another flattening, faces are first unrolled one after another.
"""

from __future__ import annotations

import math

import numpy as np

from ..base.compiled import compiled, in_strips
from ..base.topology import fans, renumbered, sorted_by
from ..base.vectors import corners_of, dot, minus
from .charts import MAX_COST, Dual, bisect, grow, smooth
from .outlines import outlines_of, self_crossings

ITERATIONS = 5  # of rotations, then positions
SMALLEST, LARGEST = 0.02, 20.0  # limits of the cotangents, so that slivers do not turn faces over
TURNS = 12  # how often bad charts are divided
STRICTER = 0.5  # factor of the growth limit for each further division
FEW = 8  # charts with at most this many faces are cut in two instead of grown again
STRETCH = 0.1  # largest average stretch of a chart, see ``stretch``
OVER = 1e-7  # faces turned over are ignored if they have less than this share of the area
FULL_TURN = 2 * math.pi + 1e-6
UNTANGLING = 10  # attempts to turn such faces back


def flat_charts(vertices: np.ndarray, dual: Dual, longest: float = math.inf) -> tuple[np.ndarray, np.ndarray]:
    """Charts [F] and their corners [F, 3] in the plane. Bad charts are divided repeatedly.

    Those are bad, too, in which two faces are farther apart than ``longest``.
    """
    limit = MAX_COST * np.sqrt(dual.areas.sum())
    charts = renumbered(smooth(dual, grow(dual, limit)))[1]
    corners = flatten(vertices, dual, charts)
    again = _divided(vertices, dual, charts, corners, STRICTER * limit, longest)
    for turn in range(1, TURNS + 1):
        some = np.flatnonzero(again >= 0)
        if not len(some):
            break
        part = dual.part(some)
        new = again[some] if turn < TURNS else np.arange(len(some))  # a single face is always good
        charts[some], corners[some] = charts.max() + 1 + new, flatten(vertices, part, new)
        again[some] = _divided(vertices, part, new, corners[some], STRICTER ** (turn + 1) * limit, longest)
    return renumbered(charts)[1], corners


def _divided(
    vertices: np.ndarray, dual: Dual, charts: np.ndarray, corners: np.ndarray, limit: float, longest: float
) -> np.ndarray:
    """Divide charts that are stretched too much by growing them again, with a stricter limit.

    Those that cross themselves, those that are too long, those with few faces and those without an outline are cut in
    two.

    Returns:
        [F] int64: the numbers of the new charts, from 0; -1 for faces whose chart is good.
    """
    twins = dual.twins(charts)
    outlines = outlines_of(corners, dual.faces, charts, twins)
    areas = np.bincount(charts, dual.areas)
    stretched = np.bincount(charts, dual.areas * stretch(vertices, dual, corners)) > STRETCH * areas
    stretched |= np.bincount(charts, signed_areas(corners) < -OVER * areas.sum()) > 0
    count = np.bincount(charts)
    grown = stretched & (count > FEW)
    ends = np.stack(farthest_faces(corners, charts, len(count)), axis=1)
    closed = np.bincount(outlines.chart, minlength=len(count)) == 0  # such as two faces back to back
    middles = corners.mean(axis=1)[ends]
    halved = (stretched | closed | (np.abs(middles[:, 1] - middles[:, 0]) > longest)) & (count > 1)
    around = _more_than_a_turn(corners, fans(twins), charts, len(count))
    folded = np.flatnonzero(around[:, 0] >= 0)
    for chart, meeting in ((folded, around[folded]), self_crossings(outlines)):
        ends[chart], halved[chart] = meeting, True
    found = bisect(dual, charts, ends, halved & ~grown)
    faces = np.flatnonzero(grown[charts])
    if len(faces):
        found[faces] = found.max() + 1 + grow(dual.part(faces), limit)
    return found


def flatten(vertices: np.ndarray, dual: Dual, charts: np.ndarray) -> np.ndarray:
    """Flatten charts with little stretch, each with the area that it has in space. They may overlap each other.

    Args:
        vertices: [V, 3] float64.
        dual: the dual graph of the faces.
        charts: [F] int64, each a set of faces connected by edges of the dual; all numbers up to the highest are used.

    Returns:
        [F, 3] complex128: the corners of each face.
    """
    twins = dual.twins(charts)
    neighbours = np.sort(twins.reshape(-1, 3), axis=1) // 3
    order, begins = _spread(neighbours, _largest(dual.areas, charts, int(charts.max()) + 1))
    shapes = _in_plane(vertices, dual.faces, dual.areas)
    weights, rotations = _cotangents(shapes, dual.areas), _unrolled(shapes, twins, order)
    points = fans(twins)
    number, counts = _numbered(points, int(points.max()) + 1, order[begins[1:] - 1])
    points = number[points].reshape(-1, 3)
    corners = np.empty_like(shapes)

    def flatten_one(chart: int, _: int) -> None:
        faces = order[begins[chart] : begins[chart + 1]]
        position = _rigid(shapes, weights, points, faces, rotations, counts[chart])
        _untangle(position, points, twins, faces)
        _fill_corners(position, points, faces, dual.areas, corners)

    in_strips(flatten_one, len(counts), 1)
    return corners


def signed_areas(corners: np.ndarray) -> np.ndarray:
    """[F] the areas of triangles [F, 3], complex, in the plane; negative if they are turned over."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray((first.conj() * second).imag / 2)


def stretch(vertices: np.ndarray, dual: Dual, corners: np.ndarray) -> np.ndarray:
    """[F] the stretch of each face: 0 if it has its shape in space, more if it is longer or shorter in any direction.

    It is half the symmetric Dirichlet energy, minus its smallest value (Smith and Schaefer, "Bijective Parameterization
    with Free Boundaries", 2015).
    """
    return np.asarray(_stretch(_in_plane(vertices, dual.faces, dual.areas), corners))


@compiled
def _stretch(shapes: np.ndarray, corners: np.ndarray) -> np.ndarray:
    result = np.empty(len(shapes))
    for face in range(len(shapes)):
        one, two = shapes[face, 1], shapes[face, 2]
        to_one, to_two = corners[face, 1] - corners[face, 0], corners[face, 2] - corners[face, 0]
        # The affine map z -> a z + b conj(z) stretches by |a| + |b| and |a| - |b|.
        determinant = abs(2 * (one * two.conjugate()).imag)
        a = abs(to_one * two.conjugate() - to_two * one.conjugate()) / determinant
        b = abs(one * to_two - two * to_one) / determinant
        product = max(abs(a * a - b * b), SMALLEST)
        result[face] = (a * a + b * b) * (1.0 + 1.0 / (product * product)) / 2 - 1.0
    return result


@compiled
def farthest_faces(corners: np.ndarray, charts: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last face [count] of each chart along its longer axis."""
    number, middle, square = np.zeros(count), np.zeros(count, np.complex128), np.zeros(count, np.complex128)
    for face in range(len(charts)):
        number[charts[face]] += 1
        middle[charts[face]] += (corners[face, 0] + corners[face, 1] + corners[face, 2]) / 3
    for chart in range(count):
        middle[chart] /= number[chart]
    for face in range(len(charts)):
        offset = (corners[face, 0] + corners[face, 1] + corners[face, 2]) / 3 - middle[charts[face]]
        square[charts[face]] += offset * offset
    first, last = np.empty(count, np.int64), np.empty(count, np.int64)
    least, most = np.full(count, np.inf), np.full(count, -np.inf)
    for face in range(len(charts)):
        chart = charts[face]
        offset = (corners[face, 0] + corners[face, 1] + corners[face, 2]) / 3 - middle[chart]
        half = math.atan2(square[chart].imag, square[chart].real) / 2
        distance = offset.real * math.cos(half) + offset.imag * math.sin(half)
        if distance < least[chart]:
            first[chart], least[chart] = face, distance
        if distance >= most[chart]:
            last[chart], most[chart] = face, distance
    return first, last


@compiled
def _more_than_a_turn(corners: np.ndarray, points: np.ndarray, charts: np.ndarray, count: int) -> np.ndarray:
    """[count, 2] the first and the last face around a point of each chart where it overlaps itself; -1 if none does.

    The angles of the faces around such a point add up to more than a full turn. The outline need not cross itself: the
    sides that overlap share the point. points: [3 F], the point of each corner.
    """
    turn = np.zeros(points.max() + 1)
    first, last = np.full(len(turn), -1), np.full(len(turn), -1)
    for face in range(len(corners)):
        for k in range(3):
            point = points[3 * face + k]
            here = corners[face, k]
            between = (corners[face, (k + 2) % 3] - here) * (corners[face, (k + 1) % 3] - here).conjugate()
            turn[point] += abs(math.atan2(between.imag, between.real))
            first[point] = face if first[point] < 0 else first[point]
            last[point] = face
    found = np.full((count, 2), -1)
    for point in range(len(turn)):
        if turn[point] > FULL_TURN:
            found[charts[first[point]], 0], found[charts[first[point]], 1] = first[point], last[point]
    return found


@compiled
def _in_plane(vertices: np.ndarray, faces: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """[F, 3] complex: each face in its own plane, with its first corner at 0 and its first side on the real axis."""
    shapes = np.zeros((len(faces), 3), np.complex128)
    for face in range(len(faces)):
        a, b, c = corners_of(vertices, faces, face)
        first = minus(b, a)
        length = math.sqrt(dot(first, first))
        shapes[face, 1] = length
        shapes[face, 2] = complex(dot(first, minus(c, a)) / length, 2 * areas[face] / length)
    return shapes


@compiled
def _largest(areas: np.ndarray, charts: np.ndarray, count: int) -> np.ndarray:
    """[count] the largest face of each chart."""
    largest = np.full(count, -1)
    for face in range(len(charts)):
        other = largest[charts[face]]
        if other < 0 or areas[face] > areas[other]:
            largest[charts[face]] = face
    return largest


@compiled
def _spread(neighbours: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All faces, chart by chart, each breadth first from its seed [C]; and where the charts begin [C + 1].

    neighbours: [F, 3] the adjacent faces of the same chart; -1 if there is none.
    """
    order, begins = np.empty(len(neighbours), np.int64), np.zeros(len(seeds) + 1, np.int64)
    found = np.zeros(len(neighbours), np.bool_)
    done = count = 0
    for chart in range(len(seeds)):
        order[count], found[seeds[chart]] = seeds[chart], True
        count += 1
        while done < count:
            for beside in neighbours[order[done]]:
                if beside >= 0 and not found[beside]:
                    order[count], found[beside] = beside, True
                    count += 1
            done += 1
        begins[chart + 1] = count
    return order, begins


@compiled
def _numbered(points: np.ndarray, count: int, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """New numbers [count] for the points of corners [3 F], from 0 in each chart, and the number of points [C] of each.

    They are numbered breadth first, starting at one face [C] of each chart, so that points that share a face have close
    numbers (Cuthill and McKee, "Reducing the Bandwidth of Sparse Symmetric Matrices", 1969).
    """
    corners = sorted_by(np.arange(len(points)), points, count)
    begins = np.zeros(count + 1, np.int64)
    for point in points:
        begins[point + 1] += 1
    for point in range(count):
        begins[point + 1] += begins[point]
    number, counts = np.full(count, -1), np.zeros(len(first), np.int64)
    order = np.empty(count, np.int64)
    for chart in range(len(first)):
        order[0], number[points[3 * first[chart]]] = points[3 * first[chart]], 0
        done, found = 0, 1
        while done < found:
            point = order[done]
            done += 1
            for corner in corners[begins[point] : begins[point + 1]]:
                for k in range(1, 3):
                    beside = points[corner - corner % 3 + (corner + k) % 3]
                    if number[beside] < 0:
                        order[found], number[beside] = beside, found
                        found += 1
        counts[chart] = found
    return number, counts


@compiled
def _cotangents(shapes: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """[F, 3] half the cotangent of the angle opposite each side."""
    weights = np.empty(shapes.shape)
    for face in range(len(shapes)):
        for k in range(3):
            opposite = shapes[face, (k + 2) % 3]
            one, two = shapes[face, k] - opposite, shapes[face, (k + 1) % 3] - opposite
            cotangent = (one * two.conjugate()).real / (2 * areas[face])
            weights[face, k] = min(max(cotangent, SMALLEST), LARGEST) / 2
    return weights


@compiled
def _unrolled(shapes: np.ndarray, twins: np.ndarray, order: np.ndarray) -> np.ndarray:
    """[F] complex of length 1: turns each face so that it fits its neighbour, from the seeds outwards."""
    rotations = np.zeros(len(shapes), np.complex128)
    for face in order:
        if rotations[face] == 0:
            rotations[face] = 1
        for k in range(3):
            twin = twins[3 * face + k]
            beside, j = twin // 3, twin % 3
            if twin >= 0 and rotations[beside] == 0:
                side = shapes[face, (k + 1) % 3] - shapes[face, k]
                turn = rotations[face] * side * (shapes[beside, j] - shapes[beside, (j + 1) % 3]).conjugate()
                rotations[beside] = turn / abs(turn)
    return rotations


@compiled
def _rigid(
    shapes: np.ndarray,
    weights: np.ndarray,
    points: np.ndarray,
    faces: np.ndarray,
    rotations: np.ndarray,
    count: int,
) -> np.ndarray:
    """The positions of the points of one chart if its faces keep their shapes as well as possible.

    Args:
        shapes: [F, 3] complex128, see ``_in_plane``.
        weights: [F, 3], see ``_cotangents``.
        points: [F, 3] int64.
        faces: the faces of the chart.
        rotations: [F] complex128, the initial rotations of the faces.
        count: the number of points in the chart.

    Returns:
        [count] complex128.
    """
    begins, matrix = _laplacian(weights, points, faces, count)
    _factorise(begins, matrix)
    sides = np.empty((len(faces), 3), np.complex128)
    for i, face in enumerate(faces):
        for k in range(3):
            sides[i, k] = weights[face, k] * (shapes[face, (k + 1) % 3] - shapes[face, k])
    position, pull = np.zeros(count, np.complex128), np.empty(count, np.complex128)
    for step in range(ITERATIONS + 1):
        for point in range(count):
            pull[point] = 0
        for i, face in enumerate(faces):
            a, b, c = points[face, 0], points[face, 1], points[face, 2]
            ab, bc, ca = sides[i, 0], sides[i, 1], sides[i, 2]
            turn = rotations[face]
            if step > 0:
                turn = (position[b] - position[a]) * ab.conjugate()
                turn += (position[c] - position[b]) * bc.conjugate() + (position[a] - position[c]) * ca.conjugate()
                turn *= 1.0 / max(math.sqrt(turn.real * turn.real + turn.imag * turn.imag), 1e-300)
            pull[a] += (ca - ab) * turn
            pull[b] += (ab - bc) * turn
            pull[c] += (bc - ca) * turn
        _solve(begins, matrix, pull)
        position, pull = pull, position
    return position


@compiled
def _laplacian(weights: np.ndarray, points: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric matrix of a chart's weighted sides, with its first point fixed.

    Returns:
        Where rows begin [count + 1], and the values of each row from its diagonal to its last nonzero one, or to that
        of the row before if it is later. Only these can become nonzero in Gaussian elimination.
    """
    begins = np.zeros(count + 1, np.int64)
    for face in faces:
        for k in range(3):
            one, two = points[face, k], points[face, (k + 1) % 3]
            begins[min(one, two) + 1] = max(begins[min(one, two) + 1], max(one, two))
    last = 0
    for row in range(count):
        last = max(last, row, begins[row + 1])
        begins[row + 1] = begins[row] + last - row + 1
    matrix = np.zeros(begins[count])
    for face in faces:
        for k in range(3):
            one, two = points[face, k], points[face, (k + 1) % 3]
            matrix[begins[one]] += weights[face, k]
            matrix[begins[two]] += weights[face, k]
            matrix[begins[min(one, two)] + abs(one - two)] -= weights[face, k]
    matrix[0] += 1
    return begins, matrix


@compiled
def _factorise(begins: np.ndarray, matrix: np.ndarray) -> None:
    """Factorise A = L D L^T in place: the rows of L^T, with D instead of its diagonal of ones."""
    for row in range(len(begins) - 1):
        first, length = begins[row], begins[row + 1] - begins[row]
        for k in range(1, length):
            factor = matrix[first + k] / matrix[first]
            below, beyond = np.uint64(begins[row + k]), np.uint64(first + k)  # unsigned indices are twice as fast
            for column in range(np.uint64(length - k)):
                matrix[below + column] -= factor * matrix[beyond + column]
        for k in range(1, length):
            matrix[first + k] /= matrix[first]


@compiled
def _solve(begins: np.ndarray, matrix: np.ndarray, values: np.ndarray) -> None:
    """Solve A x = ``values`` in place, with the matrix from ``_factorise``."""
    count = len(values)
    for row in range(count):
        value, factors = values[row], matrix[begins[row] : begins[row + 1]]
        others = values[row : row + len(factors)]
        for k in range(1, len(factors)):
            others[k] -= factors[k] * value
    for row in range(count - 1, -1, -1):
        value, factors = values[row] / matrix[begins[row]], matrix[begins[row] : begins[row + 1]]
        others = values[row : row + len(factors)]
        for k in range(1, len(factors)):
            value -= factors[k] * others[k]
        values[row] = value


@compiled
def _untangle(position: np.ndarray, points: np.ndarray, twins: np.ndarray, faces: np.ndarray) -> None:
    """Try to turn faces back that are turned over: move their points to the mean of their neighbours, in place."""
    for _ in range(UNTANGLING):
        moved, any_moved = np.zeros(len(position), np.bool_), False
        for face in faces:
            a, b, c = position[points[face, 0]], position[points[face, 1]], position[points[face, 2]]
            if ((b - a).conjugate() * (c - a)).imag <= 0:
                any_moved = True
                for k in range(3):
                    moved[points[face, k]] = True
        if not any_moved:
            break
        total, neighbours = np.zeros(len(position), np.complex128), np.zeros(len(position))
        for face in faces:
            for k in range(3):
                one, two = points[face, k], points[face, (k + 1) % 3]
                total[one] += position[two]
                neighbours[one] += 1
                if twins[3 * face + k] < 0:  # no half-edge runs back along this side
                    total[two] += position[one]
                    neighbours[two] += 1
        for point in range(len(position)):
            if moved[point]:
                position[point] = total[point] / neighbours[point]


@compiled
def _fill_corners(
    position: np.ndarray, points: np.ndarray, faces: np.ndarray, areas: np.ndarray, corners: np.ndarray
) -> None:
    """Fill in the corners [F, 3] of a chart's faces, scaled so that the chart has the area that it has in space."""
    space = flat = 0.0
    for face in faces:
        a, b, c = position[points[face, 0]], position[points[face, 1]], position[points[face, 2]]
        space += areas[face]
        flat += abs(((b - a).conjugate() * (c - a)).imag) / 2
    scale = math.sqrt(space / max(flat, 1e-300))
    for face in faces:
        for k in range(3):
            corners[face, k] = scale * position[points[face, k]]
