// Draws for bindings/same_pixels.py: node draw.mjs node|chromium BUILT OUT '[[MODEL, COUNT, SEED, LABEL], ...]'

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [way, built, out, list] = process.argv.slice(2);
const file = (model) => fileURLToPath(new URL(`../../../models/${model}.safetensors.zst`, import.meta.url));

const ways = {
  async node() {
    const { load } = await import(pathToFileURL(join(built, "npm/index.js")));
    return {
      draw: async (model, n, seed, label) => (await load(readFileSync(file(model)))).sample({ n, seed: BigInt(seed), label }).data,
      end() {},
    };
  },

  async chromium() {
    const { chromium } = await import("playwright-core");
    const { quiet } = await import("./chromium.mjs");
    const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: quiet });
    const draw = async (model, n, seed, label) => {
      const page = await browser.newPage();
      const address = pathToFileURL(join(built, "page/index.html")).href;
      await page.goto(`${address}#model=${model}&n=${n}&seed=${seed}&label=${label ?? ""}`);
      await page.waitForFunction(() => document.getElementById("status").textContent.startsWith("Drew"));
      // Image by image from the grid, whose gaps are two pixels wide.
      const images = await page.evaluate((count) => {
        const canvas = document.getElementById("grid");
        const columns = Math.min(count, Math.ceil(Math.sqrt(count)));
        const step = (canvas.width - 2) / columns;
        const place = (k) => [2 + (k % columns) * step, 2 + Math.floor(k / columns) * step, step - 2, step - 2];
        return Array.from({ length: count }, (_, k) => [...canvas.getContext("2d").getImageData(...place(k)).data]);
      }, n);
      await page.close();
      return Uint8Array.from(images.flat());
    };
    return { draw, end: () => browser.close() };
  },
};

const { draw, end } = await ways[way]();
for (const [number, [model, n, seed, label]] of JSON.parse(list).entries()) {
  const rgba = await draw(model, n, seed, label);
  const channels = model === "cifar10" ? 3 : 1;
  writeFileSync(join(out, `${way}-${number}`), rgba.filter((_, at) => at % 4 < channels));
}
await end();
