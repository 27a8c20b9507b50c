/** What to compute with: exact 16-bit integers, the same pixels on every machine, or 32-bit floats. */
export type Precision = "i16" | "f32";

/** How to draw. */
export interface Style {
  /** Class by name or number; several, as in "cat,dog" or "0-3", take turns. Without it: all classes. */
  label?: string | number | null;
  /** "i16" where nothing is said. */
  precision?: Precision;
}

/** Which images to draw. Image k depends on the seed and on k alone. */
export interface SampleOptions extends Style {
  /** Number of images, 64 where nothing is said. */
  n?: number;
  /** Seed of the latents, 0 to 2^64 - 1; 0 where nothing is said. */
  seed?: number | bigint;
  /** Number k of the first image, 0 where nothing is said. */
  first?: number | bigint;
}

/** Images on the way from each of some latents to the next. */
export interface InterpolateOptions extends Style {
  /** Number of latents, at least 2; 2 where nothing is said. */
  n?: number;
  /** Images from each latent to the next, at least 2; 8 where nothing is said. */
  steps?: number;
  /** Seed of the latents, 0 to 2^64 - 1; 0 where nothing is said. */
  seed?: number | bigint;
}

/** Images, one below the other: `new ImageData(data, width, height)`. */
export interface Images {
  /** RGBA. */
  data: Uint8ClampedArray<ArrayBuffer>;
  /** Side of an image. */
  width: number;
  /** Side of an image times their number. */
  height: number;
  /** Number of images. */
  n: number;
}

/** What a model says about itself. */
export interface Info {
  architecture: {
    image_size: number;
    channels: 1 | 3;
    ngf: number;
    latent: number;
    classes: number;
    label_scale: number;
  };
  seed: number;
  /** Number of generators, where it is a mixture. */
  components?: number;
  encoder: string;
  dataset: string;
  class_names: string[];
  training: {
    rounds: number;
    clients: number;
    local_steps: number;
    partition: string;
    uplink_bytes: number;
    downlink_bytes: number;
  };
  mask_rule: "threshold" | "sampled";
  /** What protects the images that it was trained on; it begins with "none" where nothing does. */
  privacy: string;
}

/** A model that is ready to draw. All methods throw an `Error` that says what cannot be and what can. */
export class Model {
  private constructor();
  readonly info: Info;
  sample(options?: SampleOptions): Images;
  interpolate(options?: InterpolateOptions): Images;
  /** The latent of image `index`. */
  latent(seed?: number | bigint, index?: number | bigint): Float32Array;
  /** The images of latents, one after the other in one array. */
  draw(latents: Float32Array, style?: Style): Images;
  /** Lets go of the memory; the model cannot be used any more. */
  free(): void;
}

export interface LoadOptions {
  /** The WebAssembly module, for environments that do not find `simd.wasm` beside this script. */
  wasm?: WebAssembly.Module | BufferSource;
}

/** Opens a model from the bytes of its file. Rejects where they are cut short, altered, hostile or of another version. */
export function load(bytes: Uint8Array | ArrayBuffer, options?: LoadOptions): Promise<Model>;

/** Whether this environment has WebAssembly's 128-bit vectors; without them drawing takes longer. */
export function hasSimd(): boolean;
