// Calls the WebAssembly module: bytes in, a call, bytes or a sentence out. Shared by the package and the page's worker,
// so it imports nothing.

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder();

/** A new instance of the module, with memory of its own. */
export async function instantiate(module) {
  const { exports } = await WebAssembly.instantiate(module, {});
  const { memory, prism_web_input: input, prism_web_output: output, prism_web_output_bytes: length } = exports;

  /** Makes the call of this name with `bytes` as its input; a copy of what it leaves. */
  function call(name, bytes, ...numbers) {
    // In this order: making room may move the memory.
    const place = input(bytes.length);
    new Uint8Array(memory.buffer).set(bytes, place);
    const done = exports[`prism_web_${name}`](...numbers);
    const answer = new Uint8Array(memory.buffer, output(), length()).slice();
    input(0);
    if (!done) throw new Error(DECODER.decode(answer));
    return answer;
  }

  const none = new Uint8Array();
  function style(label, precision) {
    call("style", ENCODER.encode(label === undefined ? String(precision) : `${precision}\n${label}`));
  }

  return {
    load: (bytes) => JSON.parse(DECODER.decode(call("load", bytes))),
    sample(seed, first, n, label, precision) {
      style(label, precision);
      return call("sample", none, seed, first, n);
    },
    interpolate(seed, latents, steps, label, precision) {
      style(label, precision);
      return call("interpolate", none, seed, latents, steps);
    },
    latent: (seed, index) => new Float32Array(call("latent", none, seed, index).buffer),
    draw(latents, label, precision) {
      style(label, precision);
      return call("draw", new Uint8Array(latents.buffer, latents.byteOffset, latents.byteLength));
    },
  };
}
