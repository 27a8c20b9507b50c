// The picture that follows a drag: a latent on the sphere through three of the seed's.

/** The three latents of the seed and model in use. */
let anchors;

/**
 * The latent at `x`, `y` in [-1, 1]: z0 in the middle, z1 and z2 at the edges, and always about as long as a normal
 * vector, as the generator knows them.
 *
 *     z = (z0 cos a + z1 sin a) cos b + z2 sin b        a = x pi / 2, b = y pi / 2
 */
function latentAt(x, y) {
  const [a, b] = [(x * Math.PI) / 2, (y * Math.PI) / 2];
  const [w0, w1, w2] = [Math.cos(a) * Math.cos(b), Math.sin(a) * Math.cos(b), Math.sin(b)];
  const [z0, z1, z2] = anchors;
  return z0.map((value, i) => w0 * value + w1 * z1[i] + w2 * z2[i]);
}

async function fetchAnchors(seed) {
  anchors = await Promise.all([0, 1, 2].map((index) => ask("latent", { seed, index })));
}

/** Calls `move` with the place of a drag on `canvas`, both sides from -1 to 1, up being positive. */
function onDrag(canvas, move) {
  const place = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const within = (share) => Math.max(-1, Math.min(1, 2 * share - 1));
    move(within((event.clientX - left) / width), -within((event.clientY - top) / height));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    place(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) place(event);
  });
}
