// The page's worker: holds one model and answers one message at a time.

let module;
let model;

const calls = {
  start: async ({ simd, scalar }) => {
    module = await WebAssembly.compile(hasSimd() ? simd : scalar);
  },
  open: async ({ bytes }) => {
    const opened = await openModel(instantiate, module, bytes);
    model?.free();
    model = opened;
    return model.info;
  },
  sample: (options) => model.sample(options),
  latent: ({ seed, index }) => model.latent(seed, index),
  draw: ({ latents, style }) => model.draw(latents, style),
};

onmessage = async ({ data: { id, call, options } }) => {
  try {
    const result = await calls[call](options);
    postMessage({ id, result }, result?.data ? [result.data.buffer] : []);
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};
