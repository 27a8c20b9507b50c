// The worker, as the page calls it.

const worker = new Worker(URL.createObjectURL(new Blob([prismEngine.worker], { type: "text/javascript" })));
const waiting = new Map();
let calls = 0;

worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};

/** Has the worker make a call; resolves to what it returns. */
function ask(call, options) {
  return new Promise((resolve, reject) => {
    waiting.set(++calls, { resolve, reject });
    worker.postMessage({ id: calls, call, options });
  });
}

const started = ask("start", { simd: prismEngine.simd, scalar: prismEngine.scalar });

/** The latest of the calls that come while one is running, so that a slow machine skips what nobody waits for. */
function latest(work) {
  let running = false;
  let next;
  return async function call(...given) {
    next = given;
    if (running) return;
    running = true;
    while (next) {
      const now = next;
      next = undefined;
      await work(...now).catch(fail);
    }
    running = false;
  };
}
