"""Golden values for prism-fl/src/privacy: private moments from features to messages, sums and estimates, by section 5.9 of FORMAT.md
alone and in plain Python.

    python tests/golden/private_moments.py > tests/golden/private_moments.json
"""

import json
import math


def normal_below(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def delta_of(rho, epsilon):
    m = math.sqrt(2 * rho)
    return normal_below(m / 2 - epsilon / m) - math.exp(epsilon) * normal_below(-m / 2 - epsilon / m)


def rho_of(epsilon, delta):
    """The largest rho that promises (epsilon, delta)."""
    low, high = 0.0, 1.0
    while delta_of(high, epsilon) <= delta:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, epsilon) <= delta else (low, middle)
    return low


def plan(epsilon, delta, part, adjacency, shares, images):
    rho = part * rho_of(epsilon, delta)
    factor = math.sqrt(2) if adjacency == "replace-one" else 1.0
    clip = min(1 << 20, int((2**27 - 2) * math.sqrt(2 * rho) * math.sqrt(shares) / factor))
    sensitivity = clip * factor

    def rho_at(sigma):
        return sensitivity**2 / (2 * (shares * sigma**2 - 16))

    sigma = math.ceil(sensitivity / math.sqrt(2 * rho) / math.sqrt(shares))
    while rho_at(sigma) > rho:
        sigma += 1
    most = images * clip + 40 * math.sqrt(shares * sigma**2)
    return {
        "epsilon": epsilon, "delta": delta, "part": part, "adjacency": adjacency, "shares": shares, "images": images,
        "clip_units": clip, "sigma": sigma, "rho": rho_at(sigma), "ring_bits": 2 + math.ceil(math.log2(most)),
    }


class Map:
    """Layers of C x S x S features, pooled over a grid of N cells a side, or not."""

    def __init__(self, layers, grid, clip):
        self.layers, self.grid, self.clip = layers, grid, clip
        self.length = math.sqrt(1 + 2 * len(layers))
        self.unit = self.length / clip

    def cells(self, layer):
        return layer["side"] if self.grid is None else min(self.grid, layer["side"])

    def raw(self, features):
        """The vector of one image before it is brought to length, from each layer's features [C][S][S] in one list."""
        out = [1.0]
        for layer, values in zip(self.layers, features):
            side, cells = layer["side"], self.cells(layer)
            cell = side // cells
            for power, scale in ((1, layer["first_scale"]), (2, layer["second_scale"])):
                for channel in range(layer["channels"]):
                    for row in range(cells):
                        for column in range(cells):
                            total = 0.0
                            for y in range(row * cell, (row + 1) * cell):
                                for x in range(column * cell, (column + 1) * cell):
                                    value = values[(channel * side + y) * side + x]
                                    total += value if power == 1 else value * value
                            out.append(total * (1.0 / (cell * cell) * scale))
        return out

    def integers(self, raw):
        square = 0.0
        for x in raw:  # `sum` rounds otherwise since Python 3.12
            square += x * x
        if not math.isfinite(square):
            return [min(int(1 / self.unit), self.clip)] + [0] * (len(raw) - 1)
        factor = self.clip / math.sqrt(square)
        while True:
            out = [int(max(x, 0.0) * factor) for x in raw]
            if sum(x * x for x in out) <= self.clip**2:
                return out
            factor *= 1 - 1e-12

    def estimate(self, sums, variance, kind):
        """Mean, second moment, unit and weights of each layer of one group; none where it does not stand out."""
        if not (sums[0] > 3 * math.sqrt(variance) and sums[0] * self.unit > 2):
            return None
        weight = sums[0] * self.unit
        noise = variance * self.unit**2 / weight**2
        out, at = [], 1
        for layer in self.layers:
            count = layer["channels"] * self.cells(layer) ** 2
            a, b = layer["first_scale"], layer["second_scale"]
            first = [x * self.unit / (a * weight) for x in sums[at : at + count]]
            second = [x * self.unit / (b * weight) for x in sums[at + count : at + 2 * count]]
            at += 2 * count
            n1, n2 = noise / a**2, noise / b**2
            variances = [m2 - (m1 * m1 - n1) for m1, m2 in zip(first, second)]
            unit = max(sum(variances) / count, 1e-8)
            of_variance = sum(n2 + 4 * m1 * m1 * n1 + 2 * n1 * n1 for m1 in first) / count
            of_second = of_variance if kind == "variance" else n2
            out.append({
                "mean": first, "second": variances if kind == "variance" else second, "unit": unit,
                "weight_of_means": unit / (unit + n1), "weight_of_seconds": unit**2 / (unit**2 + of_second),
            })
        return out


def pack(numbers, bits):
    joined = sum((number % 2**bits) << (bits * at) for at, number in enumerate(numbers))
    return joined.to_bytes((bits * len(numbers) + 7) // 8, "little")


def noisy(groups, sigma):
    """The payload of a `noisy` message."""
    shift = max(sigma // 8, 1).bit_length() - 1
    rounded = [(x + (1 << shift) // 2) >> shift for group in groups for x in group]
    bits = 1 + max(abs(x) for x in rounded).bit_length()
    head = len(groups).to_bytes(4, "little") + len(groups[0]).to_bytes(4, "little") + bytes([shift, bits])
    return head + pack(rounded, bits), [x << shift for x in rounded]


def numbers(seed):
    """Numbers from 0 to 1 that are `f32`, of a generator of Lehmer's."""
    state = seed
    while True:
        state = state * 48271 % 2147483647
        yield (state >> 9) / 2**22


def main():
    source = numbers(7)
    layers = [
        {"channels": 2, "side": 4, "first_scale": 0.11, "second_scale": 0.0625},
        {"channels": 3, "side": 2, "first_scale": 0.28125, "second_scale": 0.17},
    ]
    plans = [
        plan(1.0, 1e-6, 1.0, "replace-one", 1, 300), plan(1.0, 1e-6, 15 / 16, "replace-one", 2, 60_000),
        plan(0.2, 1e-6, 1.0, "add-remove", 10, 2**32 - 1), plan(10.0, 1e-7, 1.0, "replace-one", 10, 60_000),
        plan(0.0005, 1e-9, 1.0, "replace-one", 1, 10**6),
    ]
    cases = []
    for grid, clip in ((None, 1 << 20), (2, 1 << 20), (1, 5000)):
        form = Map(layers, grid, clip)
        clients = []
        for _ in range(2):
            images = [
                {"group": image % 2, "features": [
                    [max(0.0, next(source) - 0.25) * 3 for _ in range(l["channels"] * l["side"] ** 2)] for l in layers
                ]}
                for image in range(12)
            ]
            sums = [[0] * len(form.raw(images[0]["features"])) for _ in range(2)]
            for image in images:
                image["integers"] = form.integers(form.raw(image["features"]))
                sums[image["group"]] = [a + b for a, b in zip(sums[image["group"]], image["integers"])]
            sigma = clip // 8
            noise = [[int((next(source) + next(source) - 1) * 2.4 * sigma) for _ in group] for group in sums]
            release = [[a + b for a, b in zip(*pair)] for pair in zip(sums, noise)]
            payload, read = noisy(release, sigma)
            clients.append({
                "images": images, "sums": sums, "release": release, "noisy": payload.hex(), "noisy_read": read,
                "ring": (bytes([27]) + pack([x for group in release for x in group], 27)).hex(),
            })
        total = [[a + b for a, b in zip(*pair)] for pair in zip(*(client["release"] for client in clients))]
        cases.append({
            "grid": grid, "clip_units": clip, "sigma": sigma, "clients": clients, "ring_sum": total,
            "estimates": {kind: [form.estimate(group, 2 * sigma**2, kind) for group in total] for kind in ("variance", "square")},
        })
    odd = Map(layers, 2, 1 << 20)
    infinite = odd.integers([math.inf] + odd.raw([[1.0] * 32, [1.0] * 12])[1:])
    print(json.dumps({"layers": layers, "plans": plans, "cases": cases, "not_finite": infinite}))


main()
