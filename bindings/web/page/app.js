// What stands on the page follows from the state, and the state from the page's address: #model=...&seed=...

const SHELF = {
  "mnist": "digits",
  "mnist-private": "digits, epsilon 1",
  "mnist-private-0.2": "digits, epsilon 0.2",
  "mnist-private-10": "digits, epsilon 10",
  "mnist-rounds": "digits, 59 KB",
  "mnist-shards2": "digits, two a client",
  "fashion-mnist": "clothes",
  "fashion-mnist-private": "clothes, epsilon 1",
  "fashion-mnist-private-0.2": "clothes, epsilon 0.2",
  "fashion-mnist-private-10": "clothes, epsilon 10",
  "fashion-mnist-rounds": "clothes, 59 KB",
  "fashion-mnist-shards2": "clothes, two a client",
  "cifar10": "colour photographs, not recognisable yet",
  "cifar10-vgg16": "the same, through VGG16",
  "faces64": "drawn faces, 64 pixels",
};
const OWN = "";
const MOST_SEED = 2n ** 64n - 1n;
const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const state = { model: "mnist", seed: 0n, label: "", count: 64, x: 0, y: 0 };
/** What the model in use says about itself. */
let info;

function say(words, bad = false) {
  page.status.textContent = words;
  page.status.classList.toggle("bad", bad);
}

function fail(error) {
  say(error.message, true);
}

// The address.

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const number = (name, otherwise) => (Number.isFinite(parseFloat(given.get(name))) ? parseFloat(given.get(name)) : otherwise);
  const within = (value) => Math.max(-1, Math.min(1, value));
  if (Object.hasOwn(SHELF, given.get("model"))) state.model = given.get("model");
  state.seed = readSeed(given.get("seed") ?? "0") ?? 0n;
  state.label = given.get("label") ?? "";
  const counts = [...page.count.options].map((option) => Number(option.value));
  state.count = counts.includes(number("n", 64)) ? number("n", 64) : 64;
  [state.x, state.y] = [within(number("x", 0)), within(number("y", 0))];
}

function writeAddress() {
  const { model, seed, label, count, x, y } = state;
  const written = new URLSearchParams({ seed, n: count });
  if (model !== OWN) written.set("model", model);
  if (label !== "") written.set("label", label);
  if (x !== 0 || y !== 0) Object.entries({ x, y }).forEach(([name, value]) => written.set(name, value.toFixed(2)));
  history.replaceState(null, "", `#${written}`);
}

function readSeed(text) {
  const seed = /^\d{1,20}$/.test(text.trim()) ? BigInt(text.trim()) : -1n;
  return seed >= 0n && seed <= MOST_SEED ? seed : undefined;
}

// The model.

globalThis.prismShelf = (name, text) => {
  onShelf.get(name)?.(Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)));
};
const onShelf = new Map();

/** The bytes of a model on the shelf, which is a script: a page on a disk may load nothing else. */
function takeFromShelf(name) {
  return new Promise((resolve, reject) => {
    onShelf.set(name, resolve);
    const script = document.createElement("script");
    script.src = `shelf/${name}.js`;
    script.onerror = () => reject(new Error(`shelf/${name}.js is not beside this page; build the page again`));
    document.head.append(script);
    script.onload = () => script.remove();
  });
}

async function open(bytes, name) {
  await started;
  info = await ask("open", { bytes });
  state.model = Object.hasOwn(SHELF, name) ? name : OWN;
  page.shelf.value = state.model;
  describe(name, bytes.length);
  if (state.label !== "" && !(Number(state.label) < info.architecture.classes)) state.label = "";
  page.label.value = state.label;
  await everything();
}

function describe(name, length) {
  const { architecture: { image_size: side, channels, classes }, class_names: names, dataset } = info;
  const option = (text, value) => new Option(text, value);
  const classNames = Array.from({ length: classes }, (_, k) => names[k] ?? `class ${k}`);
  page.label.replaceChildren(option(classes ? "all classes in turn" : "no classes", ""), ...classNames.map(option));
  page.label.disabled = classes === 0;
  const facts = {
    "Name": name,
    "Draws": `${side} x ${side}, ${channels === 1 ? "grey" : "colour"}, ${classes || "no"} classes`,
    "Trained on": dataset,
    "File": `${length.toLocaleString("en")} bytes`,
  };
  page.facts.replaceChildren(...Object.entries(facts).map(([term, fact]) => {
    const [group, dt, dd] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    [dt.textContent, dd.textContent] = [term, fact];
    group.append(dt, dd);
    return group;
  }));
  const { kept, words } = promiseInWords(info.privacy);
  page.promise.classList.toggle("kept", kept);
  page["promise-words"].textContent = words;
  page["promise-text"].textContent = info.privacy;
}

// Drawing.

function chosenLabel() {
  return state.label === "" ? undefined : Number(state.label);
}

const drawGrid = latest(async () => {
  const { seed, count } = state;
  const began = performance.now();
  const images = await ask("sample", { n: count, seed, label: chosenLabel() });
  showGrid(page.grid, images);
  const took = Math.round(performance.now() - began);
  const what = `${images.n} ${images.n === 1 ? "image" : "images"} of ${page.label.selectedOptions[0].text}, seed ${seed}`;
  page.grid.setAttribute("aria-label", what);
  say(`Drew ${what}, in ${took} ms.`);
});

const drawOne = latest(async () => {
  const { x, y } = state;
  const label = chosenLabel() ?? (info.architecture.classes ? 0 : undefined);
  showOne(page.one, await ask("draw", { latents: latentAt(x, y), style: { label } }));
  page.one.setAttribute("aria-label", `One image, ${x.toFixed(2)} across and ${y.toFixed(2)} up`);
});

async function everything() {
  page.seed.value = state.seed;
  page.count.value = state.count;
  [page.across.value, page.along.value] = [state.x, state.y];
  await fetchAnchors(state.seed);
  writeAddress();
  await Promise.all([drawGrid(), drawOne()]);
}

function moveTo(x, y) {
  [state.x, state.y] = [x, y];
  [page.across.value, page.along.value] = [x, y];
  writeAddressSoon();
  if (anchors) drawOne();
}

/** Browsers bound how often a page may write its address. */
let writing;
function writeAddressSoon() {
  clearTimeout(writing);
  writing = setTimeout(writeAddress, 200);
}

// What a user does.

function useSeed(seed) {
  state.seed = seed;
  everything().catch(fail);
}

async function openFile(file) {
  say(`Reading ${file.name} ...`);
  await open(new Uint8Array(await file.arrayBuffer()), file.name);
}

async function openShelf(name) {
  say(`Opening ${name} ...`);
  await open(await takeFromShelf(name), name);
}

page.shelf.append(new Option("your own file", OWN), ...Object.entries(SHELF).map(([name, what]) => new Option(`${name}: ${what}`, name)));
page.shelf.options[0].disabled = true;
page.shelf.addEventListener("change", () => openShelf(page.shelf.value).catch(fail));
page.file.addEventListener("change", () => page.file.files[0] && openFile(page.file.files[0]).catch(fail));
page.label.addEventListener("change", () => {
  state.label = page.label.value;
  if (info) everything().catch(fail);
});
page.count.addEventListener("change", () => {
  state.count = Number(page.count.value);
  if (info) everything().catch(fail);
});
page.seed.addEventListener("change", () => {
  const seed = readSeed(page.seed.value);
  page.seed.setAttribute("aria-invalid", seed === undefined);
  if (seed === undefined) say(`The seed is ${page.seed.value}; give a whole number from 0 to ${MOST_SEED}.`, true);
  else if (info) useSeed(seed);
});
page.next.addEventListener("click", () => info && useSeed(state.seed === MOST_SEED ? 0n : state.seed + 1n));
page.save.addEventListener("click", () => download(page.grid, `${state.model || "prism"}-seed-${state.seed}.png`));
page.centre.addEventListener("click", () => moveTo(0, 0));
[page.across, page.along].forEach((slider) => {
  slider.addEventListener("input", () => moveTo(page.across.valueAsNumber, page.along.valueAsNumber));
});
onDrag(page.one, moveTo);
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) openFile(file).catch(fail);
});
addEventListener("hashchange", () => {
  const before = state.model;
  readAddress();
  if (state.model !== before) openShelf(state.model).catch(fail);
  else if (info) {
    page.label.value = state.label;
    everything().catch(fail);
  }
});

readAddress();
openShelf(state.model).catch(fail);
