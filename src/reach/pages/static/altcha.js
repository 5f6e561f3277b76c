// Solves a form's proof of work (altcha, version 2): see docs/guides/spam-protection.md.
// A module: our pages run it, and embed.js imports it into somebody's own page.

// A challenge can be answered for 10 minutes: an older proof is not sent.
const KEPT_MILLISECONDS = 8 * 60 * 1000;
// Tries under way at once: a browser spreads them over its cores.
const TRIES = 64;

const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const hex = (buffer) =>
  Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

async function derive(parameters, counter) {
  const nonce = bytes(parameters.nonce);
  const password = new Uint8Array(nonce.length + 4);
  password.set(nonce);
  new DataView(password.buffer).setUint32(nonce.length, counter);
  const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
  const how = {
    name: "PBKDF2",
    hash: parameters.algorithm.split("/")[1],
    salt: bytes(parameters.salt),
    iterations: parameters.cost,
  };
  return hex(await crypto.subtle.deriveBits(how, key, parameters.keyLength * 8));
}

async function solve(parameters) {
  for (let first = 0; ; first += TRIES) {
    const tries = Array.from({ length: TRIES }, (_, n) => derive(parameters, first + n));
    const keys = await Promise.all(tries);
    const found = keys.findIndex((key) => key.startsWith(parameters.keyPrefix));
    if (found >= 0) return { counter: first + found, derivedKey: keys[found] };
  }
}

async function prove(challengeOf) {
  const since = performance.now();
  const challenge = await challengeOf();
  const solution = await solve(challenge.parameters);
  return { text: btoa(JSON.stringify({ challenge, solution })), since };
}

// Keeps a proof at hand, of a challenge that a function fetches.
export function proofs(challengeOf) {
  let proof = null; // {text, since}
  let working = null; // the promise of one

  return {
    isFresh: () => proof !== null && performance.now() - proof.since < KEPT_MILLISECONDS,
    // Starts at most one at a time; who types meanwhile notices nothing.
    begin() {
      working ??= prove(challengeOf)
        .then((found) => { proof = found; })
        .finally(() => { working = null; });
      return working;
    },
    // It works once.
    take() {
      const { text } = proof;
      proof = null;
      return text;
    },
  };
}

async function challengeFrom(url) {
  const answer = await fetch(url, { cache: "no-store" });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

function protect(form) {
  const button = form.querySelector("button");
  const status = form.querySelector("[role=status]");
  const words = status.dataset;
  const { isFresh, begin, take } = proofs(() => challengeFrom(form.dataset.challenge));

  async function proveThenSend() {
    status.textContent = words.checking;
    button.disabled = true;
    try {
      await begin();
      status.textContent = words.done;
    } catch {
      status.textContent = words.failed;
      return;
    } finally {
      button.disabled = false;
    }
    form.requestSubmit(button);
  }

  // Until here the page said what to do if this script does not run.
  if (!globalThis.crypto?.subtle) {
    status.textContent = words.insecure;
    return;
  }
  status.textContent = "";
  button.disabled = false;
  form.addEventListener("input", () => { if (!isFresh()) begin().catch(() => {}); });
  form.addEventListener("submit", (event) => {
    if (isFresh()) {
      form.elements.altcha.value = take();
      return;
    }
    event.preventDefault();
    if (!button.disabled) proveThenSend();
  });
}

// On another site's page such a form would be another script's.
if (new URL(import.meta.url).origin === location.origin) {
  document.querySelectorAll("form[data-challenge]").forEach(protect);
}
