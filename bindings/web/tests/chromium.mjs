/** Flags for a Chromium that starts as root, draws without a GPU and asks nothing of any network by itself. */
export const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
