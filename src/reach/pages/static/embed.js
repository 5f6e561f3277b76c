// Reach's sign-up form on one's own page: docs/tutorial/your-first-form.md.
"use strict";
{
  const script = document.currentScript;
  const { origin } = new URL(script.src);
  const FIELDS = {
    name: { required: true, autocomplete: "name" },
    email: { required: true, autocomplete: "email", dir: "ltr" },
    description: {},
  };
  // What the page says counts more.
  const STYLE = `
:where(.reach-form p) { margin: 0 0 1em }
:where(.reach-form :is(label, input)) { display: block; width: 100%; box-sizing: border-box }
:where(.reach-form, .reach-note) :where(input, button) { font: inherit; padding: .5em .75em }
:where(.reach-error) { display: block; border-inline-start: 3px solid #d33; padding-inline-start: .5em }
:where(.reach-note *) { display: block; margin-top: .5em }
`;
  let forms = 0;

  const make = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  // No person or password manager fills it in.
  const trap = () => {
    const made = make("input", {
      name: "motto", autocomplete: "off", tabIndex: -1, inert: true, ariaHidden: "true",
      style: "position:absolute;left:-999rem",
    });
    Object.assign(made.dataset, { "1pIgnore": "", bwignore: "", lpignore: "true", formType: "other" });
    return made;
  };

  const build = ({ labels, words, emailType }, id) => {
    const fields = Object.entries(FIELDS).map(([name, rules]) => {
      const input = make("input", { ...rules, id: `${id}-${name}`, name });
      if (name === "email") input.type = emailType;
      const label = rules.required ? labels[name] : `${labels[name]} ${words.optional}`;
      return make("p", {}, make("label", { htmlFor: input.id }, label), input);
    });
    // We tell of faults, in the form's language.
    const { lang, dir } = words;
    const rules = { className: "reach-form", noValidate: true, lang, dir };
    return make("form", rules, ...fields, make("button", {}, words.button));
  };

  const mount = async (place) => {
    place.dataset.reach = "ready";
    const wanted = place.dataset.lang || script.dataset.lang || document.documentElement.lang;
    const url = `${origin}/embed.json?lang=${encodeURIComponent(wanted)}`;
    const ask = async (options) => (await fetch(url, options)).json();

    // If this fails, the page keeps its link, or its form, which works without us.
    const info = await ask();
    const proofs = info.solver
      && (await import(origin + info.solver)).proofs(async () => (await ask()).challenge);
    const id = `reach-${++forms}`;
    const form = place.matches("form") ? place : build(info, id);
    const started = make("input", { type: "hidden", name: "started", value: info.started });
    const { words, words: { lang, dir } } = info;
    const note = make("div", { className: "reach-note", role: "status", tabIndex: -1, lang, dir });
    form.append(started, trap(), note);
    if (form !== place) place.replaceChildren(form);

    const tell = (title, text) => note.replaceChildren(make("strong", {}, title), make("div", {}, text ?? ""));

    const show = (answer, body) => {
      tell(answer.title, answer.text);
      if (answer.isDone) form.replaceWith(note);
      if (answer.started) started.value = answer.started;
      for (const [label, email] of answer.choices ?? []) {
        const onclick = () => {
          body.set("email", form.elements.email.value = email);
          body.set("sure", email);
          send(body);
        };
        note.append(make("button", { type: "button", onclick }, label));
      }
      let first = note;
      for (const [name, said] of Object.entries(answer.errors ?? {}).reverse()) {
        const input = form.elements[name];
        const error = make("span", { className: "reach-error", id: `${id}-no-${name}` }, said);
        (input?.closest("label") ?? input ?? note).after(error);
        if (!input) continue;
        first = input;
        input.ariaInvalid = true;
        input.setAttribute("aria-describedby", error.id);
      }
      first.focus();
    };

    // Its key makes it safe to send the same again: nothing is done twice.
    const post = (body) => {
      body.set("key", crypto.getRandomValues(new Uint32Array(4)).join("-"));
      const go = () => ask({ method: "POST", body });
      return go().catch(() => new Promise((after) => setTimeout(after, 1000)).then(go));
    };

    const wait = (isBusy) => {
      form.ariaBusy = isBusy;
      form.querySelectorAll("button, [type=submit]").forEach((one) => { one.disabled = isBusy; });
    };

    const send = async (body) => {
      form.querySelectorAll(".reach-error").forEach((error) => error.remove());
      form.querySelectorAll("[aria-invalid]").forEach((input) => { input.ariaInvalid = null; });
      wait(true);
      let answer = { title: isSecureContext || !proofs ? words.failed : words.insecure };
      try {
        tell(proofs ? words.checking : words.sending);
        if (proofs && !proofs.isFresh()) await proofs.begin();
        if (proofs) body.set("altcha", proofs.take());
        answer = await post(body);
      } catch (error) {
        console.warn(error);
      }
      wait(false);
      show(answer, body);
    };

    if (proofs) form.addEventListener("input", () => proofs.isFresh() || proofs.begin().catch(() => {}));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (form.ariaBusy === "true") return;
      const body = new URLSearchParams(new FormData(form));
      body.delete("next"); // people stay here
      send(body);
    });
  };

  const begin = () =>
    document.querySelectorAll('[data-reach=""]').forEach((place) => mount(place).catch(console.warn));

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
  else begin();
}
