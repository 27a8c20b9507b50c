// Images on a canvas: the grid that `prism-infer` draws, with the same gaps.

const GAP = 2;

/** Shows images, one below the other in `images`, as a grid that is about square. */
function showGrid(canvas, images) {
  const columns = Math.max(1, Math.ceil(Math.sqrt(images.n)));
  const [side, step] = [images.width, images.width + GAP];
  canvas.width = Math.min(columns, images.n) * step + GAP;
  canvas.height = Math.ceil(images.n / columns) * step + GAP;
  const context = canvas.getContext("2d");
  context.fillStyle = "rgb(128 128 128)";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const strip = new ImageData(images.data, images.width, images.height);
  for (let k = 0; k < images.n; k++) {
    const [left, top] = [GAP + (k % columns) * step, GAP + Math.floor(k / columns) * step];
    context.putImageData(strip, left, top - k * side, 0, k * side, side, side);
  }
}

/** Shows one image. */
function showOne(canvas, images) {
  [canvas.width, canvas.height] = [images.width, images.height];
  canvas.getContext("2d").putImageData(new ImageData(images.data, images.width, images.height), 0, 0);
}

function download(canvas, name) {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }, "image/png");
}
