// A model and the instance of the WebAssembly module that it lives in. Shared by the package and the page's worker, so
// it imports nothing.

/** No model's file is larger. */
const MOST_BYTES = 40 * 2 ** 20;
const MOST_SEED = 2n ** 64n - 1n;
/** A module with one function, which makes a vector. */
const VECTORS = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

export function hasSimd() {
  return WebAssembly.validate(Uint8Array.from(VECTORS));
}

/** Opens a model in an instance of its own. */
export async function openModel(instantiate, module, bytes) {
  if (!(bytes instanceof Uint8Array)) bytes = new Uint8Array(bytes);
  if (bytes.length > MOST_BYTES) {
    throw new Error(`the artifact cannot be used: it has ${bytes.length} bytes; the most is ${MOST_BYTES}`);
  }
  return new Model(await instantiate(module), bytes);
}

export class Model {
  #sampler;

  constructor(sampler, bytes) {
    this.#sampler = sampler;
    this.info = this.#call((opened) => opened.load(bytes));
  }

  sample({ n = 64, seed = 0, first = 0, label, precision = "i16" } = {}) {
    const [count, from, at] = [whole("n", n), natural("seed", seed), natural("first", first)];
    return this.#images(this.#call((sampler) => sampler.sample(from, at, count, text(label), precision)));
  }

  interpolate({ n = 2, steps = 8, seed = 0, label, precision = "i16" } = {}) {
    const [count, between, from] = [whole("n", n), whole("steps", steps), natural("seed", seed)];
    return this.#images(this.#call((sampler) => sampler.interpolate(from, count, between, text(label), precision)));
  }

  latent(seed = 0, index = 0) {
    const [from, at] = [natural("seed", seed), natural("index", index)];
    return this.#call((sampler) => sampler.latent(from, at));
  }

  draw(latents, { label, precision = "i16" } = {}) {
    const rows = Float32Array.from(latents);
    return this.#images(this.#call((sampler) => sampler.draw(rows, text(label), precision)));
  }

  free() {
    this.#sampler = undefined; // The instance goes with it.
  }

  #images(rgba) {
    const width = this.info.architecture.image_size;
    const height = rgba.length / 4 / width;
    return { data: new Uint8ClampedArray(rgba.buffer, rgba.byteOffset, rgba.length), width, height, n: height / width };
  }

  #call(work) {
    if (!this.#sampler) throw new Error("this model was freed or has failed; load it again");
    try {
      return guarded(() => work(this.#sampler));
    } catch (error) {
      // What is left of an instance that stopped in the middle is not to be trusted.
      if (error.cause) this.#sampler = undefined;
      throw error;
    }
  }
}

/** Does `work`; an instance that stops in the middle, as it does where memory ends, becomes an error that says so. */
function guarded(work) {
  try {
    return work();
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
      throw new Error("the model takes more memory than it may have here, 512 MiB; take a smaller one", { cause: error });
    }
    throw error;
  }
}

function whole(name, value) {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw new Error(`${name} is ${value}; give a whole number from 0 to ${0xffffffff}`);
  }
  return value;
}

function natural(name, value) {
  const big = typeof value === "bigint" ? value : Number.isSafeInteger(value) ? BigInt(value) : -1n;
  if (big < 0n || big > MOST_SEED) {
    throw new Error(`${name} is ${value}; give a whole number from 0 to 2^53 - 1, or a BigInt up to 2^64 - 1`);
  }
  return big;
}

function text(label) {
  return label === undefined || label === null ? undefined : String(label);
}
