// The page in a real Chromium, opened from the disk: what it draws is what `prism-infer` draws; it asks nothing of any
// network; keyboard, address, hostile files; both colour schemes and a narrow window, with pictures of each.
// PRISM_WEB is the folder that build.sh made, PRISM_INFER the program, PRISM_SHOTS where pictures go (or nowhere).

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

import { quiet } from "./chromium.mjs";

const { PRISM_WEB, PRISM_INFER, PRISM_SHOTS, CHROMIUM = "/usr/bin/chromium" } = process.env;
const shelf = fileURLToPath(new URL("../../../models/", import.meta.url));
const address = pathToFileURL(join(PRISM_WEB, "page/index.html")).href;
const folder = mkdtempSync(join(tmpdir(), "prism-web-"));
// A busy machine is slow, and no test is about time.
const PATIENCE = 300_000;
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: quiet, timeout: PATIENCE });
});
after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

/** The page at `hash`, drawn; every request that it makes and everything that it complains of. */
async function open(hash = "", options = {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 1300 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const [requests, complaints] = [[], []];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(address + hash);
  await status(page, /^Drew/);
  return { page, requests, complaints, close: () => context.close() };
}

async function status(page, words) {
  await page.waitForFunction((pattern) => new RegExp(pattern).test(document.getElementById("status").textContent), words.source);
  return page.textContent("#status");
}

/** What a canvas shows: its size, and a digest of its pixels. */
function pixels(page, id) {
  return page.evaluate((name) => {
    const canvas = document.getElementById(name);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.width, canvas.height, data.join()];
  }, id).then(digested);
}

function digested([width, height, data]) {
  return `${width} x ${height}, ${createHash("sha256").update(data).digest("hex")}`;
}

/** The same of a PNG file, as the browser decodes it. */
async function decoded(file) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const found = await page.evaluate(async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext("2d").drawImage(image, 0, 0);
    const { data } = canvas.getContext("2d").getImageData(0, 0, image.width, image.height);
    return [image.width, image.height, data.join()];
  }, `data:image/png;base64,${readFileSync(file).toString("base64")}`);
  await context.close();
  return digested(found);
}

test("the page draws what prism-infer draws, pixel by pixel, on the canvas and in the download", async () => {
  const wanted = [
    ["mnist", 64, 5, "", []],
    ["fashion-mnist-private", 16, 123456789012345, "2", ["--label", "2"]],
    ["cifar10", 4, 18446744073709551615n, "", []],
  ];
  for (const [model, n, seed, label, flags] of wanted) {
    const { page, complaints, close } = await open(`#model=${model}&seed=${seed}&n=${n}&label=${label}`);
    const png = join(folder, `${model}.png`);
    const file = join(shelf, `${model}.safetensors.zst`);
    execFileSync(PRISM_INFER, [file, "--n", n, "--seed", seed, "--precision", "i16", "--out", png, "--quiet", ...flags]);
    const expected = await decoded(png);
    assert.equal(await pixels(page, "grid"), expected, model);
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
    assert.equal(download.suggestedFilename(), `${model}-seed-${seed}.png`);
    const saved = join(folder, "saved.png");
    await download.saveAs(saved);
    assert.equal(await decoded(saved), expected, `${model}, downloaded`);
    assert.deepEqual(complaints, []);
    await close();
  }
});

test("the page asks for files beside it and nothing else, and is not allowed to", async () => {
  const { page, requests, close } = await open();
  await page.selectOption("#shelf", "fashion-mnist-rounds");
  await status(page, /^Drew 64 images of all classes in turn, seed 0/);
  const beside = new URL(".", address).href;
  assert.deepEqual(requests.filter((url) => !url.startsWith(beside) && !/^(blob|data):/.test(url)), []);
  const refused = await page.evaluate(() => fetch("https://example.org").then(() => "answered", () => "refused"));
  assert.equal(refused, "refused");
  await close();
});

test("class, seed and place are chosen by keyboard, stand in the address, and come back from it", async () => {
  const { page, close } = await open();
  await page.focus("#label");
  await page.keyboard.press("ArrowDown");
  await status(page, /images of 0, seed 0/);
  await page.focus("#seed");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("42");
  await page.keyboard.press("Tab");
  await status(page, /images of 0, seed 42/);
  const middle = await pixels(page, "one");
  await page.focus("#across");
  for (let k = 0; k < 30; k++) await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => location.hash.includes("x=0.30"));
  await page.waitForFunction(() => document.getElementById("one").getAttribute("aria-label").includes("0.30 across"));
  const [moved, grid, hash] = [await pixels(page, "one"), await pixels(page, "grid"), await page.evaluate(() => location.hash)];
  assert.notEqual(moved, middle);
  await close();
  const again = await open(hash);
  await again.page.waitForFunction(() => document.getElementById("one").getAttribute("aria-label").includes("0.30 across"));
  assert.equal(await pixels(again.page, "grid"), grid);
  assert.equal(await pixels(again.page, "one"), moved);
  await again.close();
});

test("a drag moves through latents, and the page answers all the while", async () => {
  const { page, close } = await open("#seed=3");
  await page.locator("#one").scrollIntoViewIfNeeded();
  const box = await page.locator("#one").boundingBox();
  await page.evaluate(() => {
    globalThis.longest = 0;
    let last = performance.now();
    const beat = () => {
      const now = performance.now();
      globalThis.longest = Math.max(globalThis.longest, now - last);
      last = now;
      requestAnimationFrame(beat);
    };
    beat();
  });
  const seen = new Set();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  for (let k = 1; k <= 20; k++) {
    const before = await page.getAttribute("#one", "aria-label");
    await page.mouse.move(box.x + (box.width * (20 + k)) / 41, box.y + (box.height * (20 - k / 2)) / 41);
    // However slow the machine is: every place of the pointer is drawn in the end.
    await page.waitForFunction((old) => document.getElementById("one").getAttribute("aria-label") !== old, before);
    seen.add(await pixels(page, "one"));
  }
  await page.mouse.up();
  await page.waitForFunction(() => Number(document.getElementById("across").value) > 0.9);
  assert.ok(seen.size > 15, `${seen.size} different pictures`);
  assert.ok(Number(await page.inputValue("#along")) > 0.3);
  console.log(`  the longest the page took between two frames: ${Math.round(await page.evaluate(() => globalThis.longest))} ms`);
  await close();
});

test("hostile files are refused in words, and the model that was there goes on drawing", async () => {
  const { page, complaints, close } = await open("#model=mnist-rounds");
  const good = readFileSync(join(shelf, "mnist-rounds.safetensors.zst"));
  const bad = join(folder, "bad.zst");
  const altered = Buffer.from(good);
  altered[good.length / 2 | 0] ^= 1;
  for (const bytes of [Buffer.alloc(0), Buffer.from("<html>"), good.subarray(0, 1000), altered, Buffer.alloc(41 << 20)]) {
    writeFileSync(bad, bytes);
    await page.evaluate(() => (document.getElementById("status").textContent = ""));
    await page.setInputFiles("#file", []);
    await page.setInputFiles("#file", bad);
    await status(page, /cannot be used/);
  }
  await page.click("#next");
  await status(page, /^Drew 64 images of all classes in turn, seed 1/);
  await page.setInputFiles("#file", join(shelf, "fashion-mnist-rounds.safetensors.zst"));
  await status(page, /^Drew 64 images of all classes in turn, seed 1/);
  assert.match(await page.textContent("#facts"), /fashion-mnist-rounds\.safetensors\.zst/);
  assert.deepEqual(complaints, []);
  await close();
});

test("the privacy promise is told in words", async () => {
  for (const [model, words] of [
    ["mnist-private-0.2", /^A promise \(epsilon 0\.2, delta 0\.00001\).*at most 55% sure/],
    ["mnist-private", /^A promise .*at most 73% sure/],
    ["mnist-private-10", /^Hardly a promise .*at most 99\.995% sure/],
    ["mnist", /^No promise\./],
  ]) {
    const { page, close } = await open(`#model=${model}&n=1`);
    assert.match(await page.textContent("#promise-words"), words);
    await close();
  }
});

test("light, dark and 360 pixels wide: nothing sticks out, and no rule of accessibility is broken", async () => {
  const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  for (const [name, options] of [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["narrow", { colorScheme: "dark", viewport: { width: 360, height: 780 } }],
  ]) {
    const { page, close } = await open("#model=fashion-mnist-private&seed=7", { ...options, bypassCSP: true });
    assert.ok(await page.evaluate(() => document.scrollingElement.scrollWidth <= innerWidth), `${name}: it scrolls sideways`);
    if (PRISM_SHOTS) {
      // As high as the page is, or what sticks to the window's lower edge would lie across its middle.
      const height = await page.evaluate(() => document.scrollingElement.scrollHeight);
      await page.setViewportSize({ width: page.viewportSize().width, height });
      await page.screenshot({ path: join(PRISM_SHOTS, `${name}.png`) });
    }
    await page.addScriptTag({ content: axe });
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html)}`), [], name);
    await close();
  }
});
