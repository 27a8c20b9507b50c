// The npm package in Node.js, with and without vectors. PRISM_WEB is the folder that build.sh made.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { test } from "node:test";

const built = process.env.PRISM_WEB;
const shelf = new URL("../../../models/", import.meta.url);
const { load, hasSimd } = await import(`${built}/npm/index.js`);
const wasm = Object.fromEntries(
  await Promise.all(["simd", "scalar"].map(async (kind) => [kind, await readFile(`${built}/npm/${kind}.wasm`)])),
);
const digits = await readFile(new URL("mnist-rounds.safetensors.zst", shelf));

test("both modules are small, and bounded in memory", async () => {
  for (const [kind, bytes] of Object.entries(wasm)) {
    assert.ok(gzipSync(bytes, { level: 9 }).length <= 400_000, kind);
    const { exports } = await WebAssembly.instantiate(await WebAssembly.compile(bytes), {});
    assert.throws(() => exports.memory.grow(8192), RangeError, `${kind}: 512 MiB more`);
  }
});

test("with and without vectors the same pixels, wherever the range begins", async () => {
  assert.ok(hasSimd());
  const drawn = [];
  for (const kind of ["simd", "scalar"]) {
    const model = await load(digits, { wasm: wasm[kind] });
    const images = model.sample({ n: 6, seed: 2n ** 64n - 1n });
    assert.deepEqual([images.width, images.height, images.n], [32, 192, 6]);
    const last = model.sample({ n: 2, seed: 2n ** 64n - 1n, first: 4 });
    assert.deepEqual(last.data, images.data.slice(4 * 4096));
    drawn.push(images.data, model.sample({ n: 2, precision: "f32" }).data, model.interpolate({ steps: 3 }).data);
  }
  assert.deepEqual(drawn.slice(0, 3), drawn.slice(3));
});

test("a latent draws what its seed and number draw", async () => {
  const model = await load(digits);
  const latents = new Float32Array([...model.latent(3, 0), ...model.latent(3, 1)]);
  assert.deepEqual(model.draw(latents, { label: 7 }), model.sample({ n: 2, seed: 3, label: "7" }));
});

test("models have memory of their own", async () => {
  const [first, second] = await Promise.all([load(digits), load(await readFile(new URL("cifar10.safetensors.zst", shelf)))]);
  const before = first.sample({ n: 1 });
  first.free();
  assert.throws(() => first.sample(), /freed/);
  assert.equal(second.info.dataset, "cifar10");
  assert.equal(second.sample({ n: 1 }).data.length, before.data.length);
});

test("what cannot be drawn is an error with a sentence", async () => {
  const model = await load(digits);
  const wrong = [
    [{ label: "eleven" }, /label eleven does not exist; this model has the labels 0 to 9/],
    [{ precision: "f64" }, /precision is f64; choose f32 or i16/],
    [{ n: 1e6 }, /too many for one call/],
    [{ n: -1 }, /n is -1/],
    [{ n: 1.5 }, /n is 1.5/],
    [{ seed: -1 }, /seed is -1/],
    [{ seed: 2 ** 53 }, /seed is/],
    [{ first: 2n ** 64n - 1n }, /first is/],
  ];
  for (const [options, words] of wrong) assert.throws(() => model.sample(options), words);
  assert.throws(() => model.interpolate({ n: 1 }), /at least 2/);
  assert.throws(() => model.draw(new Float32Array(3)), /rows of/);
  assert.throws(() => model.draw(new Float32Array(model.info.architecture.latent).fill(NaN)), /finite/);
  assert.equal(model.sample({ n: 1 }).n, 1, "and the model can still be used");
});

test("altered files reject the promise", async () => {
  for (let at = 0; at < digits.length; at += 1999) {
    const altered = Uint8Array.from(digits);
    altered[at] ^= 0x10;
    await assert.rejects(load(altered), /cannot be used/, `byte ${at}`);
    await assert.rejects(load(digits.subarray(0, at)), /cannot be used/, `the first ${at} bytes`);
  }
  await assert.rejects(load(new Uint8Array(41 * 2 ** 20)), /the most is/);
});

const forged = process.env.PRISM_HOSTILE;

test("forged models are taken or refused as everywhere", { skip: !forged && "PRISM_HOSTILE names no folder" }, async () => {
  const names = await readdir(forged);
  assert.ok(names.length);
  for (const name of names) {
    const opened = load(await readFile(`${forged}/${name}`));
    if (name.startsWith("taken-")) assert.equal((await opened).sample({ n: 2 }).n, 2, name);
    else await assert.rejects(opened, /cannot be used/, name);
  }
});
