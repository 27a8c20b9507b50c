// A model's privacy statement in words.

/** What `statement` promises: words, and whether there is a promise at all. */
function promiseInWords(statement) {
  const found = /^\(epsilon = ([\d.e+-]+), delta = ([\d.e+-]+)\)/.exec(statement);
  if (!found) {
    return {
      kept: false,
      words: statement.startsWith("none needed")
        ? "No image was used to make this model, so there is nothing to protect."
        : "No promise. The images that this model was trained on are not protected: it may tell something about any of them.",
    };
  }
  const [epsilon, delta] = [Number(found[1]), Number(found[2])];
  const sure = 1 / (1 + Math.exp(-epsilon));
  const strength = epsilon <= 1 ? "A promise" : epsilon < 5 ? "A weak promise" : "Hardly a promise";
  return {
    kept: epsilon < 5,
    words:
      `${strength} (epsilon ${epsilon}, delta ${delta}), by the word of the file: whoever has this model, and held it for ` +
      `an even chance that one certain image was used in training, may become at most ${percent(sure)} sure that it was. ` +
      `It is about one image, not about all images of one person. The chance that it fails is ${delta}.`,
  };
}

/** A share below 1 with enough digits to tell it from 1. */
function percent(share) {
  const digits = Math.max(0, Math.ceil(-Math.log10(1 - share)) - 2);
  return `${(100 * share).toFixed(Math.min(digits, 6))}%`;
}
