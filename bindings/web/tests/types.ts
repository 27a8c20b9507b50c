// Compiled, not run: what the types allow, and what they do not.

import { hasSimd, load, type Images, type Info } from "prism-web";

export async function drawTo(canvas: CanvasRenderingContext2D, file: File): Promise<Info> {
  const model = await load(await file.arrayBuffer());
  const images: Images = model.sample({ n: 4, seed: 7n, label: hasSimd() ? "cat" : 3 });
  canvas.putImageData(new ImageData(images.data, images.width, images.height), 0, 0);
  model.draw(model.latent(), { precision: "f32" });
  // @ts-expect-error another precision
  model.sample({ precision: "f64" });
  // @ts-expect-error a text is no model
  await load("model");
  model.free();
  return model.info;
}
