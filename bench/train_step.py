#!/usr/bin/env python3
"""The peer of `prism-train bench`: one local training step of PRISM in eager PyTorch.

    M ~ Bernoulli(sigmoid(s));  loss = moment distance(encoder(generator(z; w * M)));  dloss/ds;  Adam on s

The same shapes, the same mathematics, written the way a PyTorch user would write it. Weights and targets are random, since
only the time counts. Needs `pip install torch`. Prints one line of JSON with the keys of `prism-train bench --json` that it can
fill.

    bench/train_step.py --ngf 64 --batch 64 --threads 2 [--channels-last] [--bf16] [--encoder vgg19] [--device cuda]
"""

import argparse
import json
import math
import resource
import statistics
import time

import torch
import torch.nn.functional as F

LAYOUTS = {
    "public": "32,32,M,64,64,M,128,128,M,256",
    "vgg16": "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512",
    "vgg19": "64,64,M,128,128,M,256,256,256,256,M,512,512,512,512,M,512,512,512,512",
}
WARM_UP = 2


class Draw(torch.autograd.Function):
    """A Bernoulli draw whose gradient passes straight through to the probability."""

    @staticmethod
    def forward(_, theta):
        return torch.bernoulli(theta)

    @staticmethod
    def backward(_, gradient):
        return gradient


class Masked(torch.nn.Module):
    """A constant weight of random signs under a learned mask."""

    def __init__(self, *shape, fan_in):
        super().__init__()
        signs = torch.randint(0, 2, shape) * 2 - 1
        self.register_buffer("frozen", signs * math.sqrt(2 / fan_in))
        self.scores = torch.nn.Parameter(torch.randn(shape))

    def forward(self):
        return self.frozen * Draw.apply(torch.sigmoid(self.scores))


def conv_weight(inputs, outputs, side):
    return Masked(outputs, inputs, side, side, fan_in=inputs * side * side)


def norm_relu(x):
    return F.relu(F.batch_norm(x, None, None, training=True))


def double(x):
    return F.interpolate(x, scale_factor=2)


class Generator(torch.nn.Module):
    def __init__(self, ngf, image_size, channels, latent):
        super().__init__()
        count = int(math.log2(image_size)) - 2
        widths = [ngf << (count - i) for i in range(count + 1)]
        self.first = Masked(latent, widths[0], 4, 4, fan_in=latent * 16)
        self.blocks = torch.nn.ModuleList()
        for inputs, outputs in zip(widths, widths[1:]):
            convs = [conv_weight(inputs, outputs, 3), conv_weight(outputs, outputs, 3), conv_weight(inputs, outputs, 1)]
            self.blocks.append(torch.nn.ModuleList(convs))
        self.last = conv_weight(ngf, channels, 3)

    def forward(self, z):
        x = F.conv_transpose2d(z[:, :, None, None], self.first())
        for conv1, conv2, skip in self.blocks:
            h = F.conv2d(double(norm_relu(x)), conv1(), padding=1)
            x = F.conv2d(norm_relu(h), conv2(), padding=1) + double(F.conv2d(x, skip()))
        return torch.tanh(F.conv2d(norm_relu(x), self.last(), padding=1))


class Encoder(torch.nn.Module):
    """3x3 convolutions with ReLU, and pools; every convolution's output is a feature."""

    def __init__(self, layout):
        super().__init__()
        self.convs, self.steps, inputs = torch.nn.ModuleList(), layout.split(","), 3
        for step in self.steps:
            if step != "M":
                self.convs.append(torch.nn.Conv2d(inputs, int(step), 3, padding=1))
                inputs = int(step)
        self.requires_grad_(False).eval()

    def forward(self, x):
        features, convs = [], iter(self.convs)
        x = x.expand(-1, 3, -1, -1)
        for step in self.steps:
            x = F.max_pool2d(x, 2) if step == "M" else F.relu(next(convs)(x))
            if step != "M":
                features.append(x)
        return features


def moment_loss(features, targets):
    loss = 0
    for feature, (mean, variance) in zip(features, targets):
        feature = feature.flatten(1)
        scale = variance.mean() + 1e-8
        loss = loss + ((feature.mean(0) - mean) ** 2).mean() / scale
        loss = loss + ((feature.var(0) - variance) ** 2).mean() / scale**2
    return loss


def seconds_per_step(args, generator, encoder):
    def synchronise():
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()

    shape = (args.batch, args.channels, args.image_size, args.image_size)
    with torch.no_grad():
        real = torch.randn(shape, device=args.device).tanh()
        features = [feature.flatten(1) for feature in encoder(real)]
        targets = [(feature.mean(0), feature.var(0)) for feature in features]
    adam = torch.optim.Adam(generator.parameters(), lr=0.1, betas=(0.5, 0.999))
    seconds = []
    for _ in range(WARM_UP + args.steps):
        synchronise()
        begun = time.perf_counter()
        z = torch.randn(args.batch, args.latent, device=args.device)
        with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.bf16):
            features = encoder(generator(z))
        loss = moment_loss([feature.float() for feature in features], targets)
        adam.zero_grad()
        loss.backward()
        adam.step()
        synchronise()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[WARM_UP:])


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--ngf", type=int, default=64)
    flags.add_argument("--batch", type=int, default=64)
    flags.add_argument("--image-size", type=int, default=32)
    flags.add_argument("--channels", type=int, default=3)
    flags.add_argument("--latent", type=int, default=128)
    flags.add_argument("--steps", type=int, default=10)
    flags.add_argument("--encoder", default="public", help="public, vgg16, vgg19, or a layout such as 32,M,64; weights are random")
    flags.add_argument("--threads", type=int, default=0, help="0 for PyTorch's own choice")
    flags.add_argument("--device", default="cpu")
    flags.add_argument("--channels-last", action="store_true")
    flags.add_argument("--bf16", action="store_true", help="autocast to bfloat16; the loss stays in float32")
    args = flags.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    generator = Generator(args.ngf, args.image_size, args.channels, args.latent).to(args.device)
    encoder = Encoder(LAYOUTS.get(args.encoder, args.encoder)).to(args.device)
    if args.channels_last:
        generator = generator.to(memory_format=torch.channels_last)
        encoder = encoder.to(memory_format=torch.channels_last)
    seconds = seconds_per_step(args, generator, encoder)
    report = {
        "peer": f"PyTorch {torch.__version__}" + (", channels last" if args.channels_last else "") + (", bf16" if args.bf16 else ""),
        "device": args.device,
        "threads": torch.get_num_threads(),
        "ngf": args.ngf,
        "batch": args.batch,
        "encoder": args.encoder,
        "s_per_step": seconds,
        "images_per_s": args.batch / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
