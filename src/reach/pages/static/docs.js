"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

/* Of its layout the parts that are wanted: this page says the rest, and has a <main> already. */
const parts = ["SvgAssets", "errors", "AuthorizeBtnContainer", "operations"];
const Layout = ({ React }) => ({
  components: {
    Layout: ({ getComponent }) =>
      React.createElement(
        "div",
        { className: "swagger-ui" },
        ...parts.map((name) => React.createElement(getComponent(name, true), { key: name })),
      ),
  },
});

/* Its links inside buttons, which no key reaches. */
const mend = () =>
  document.querySelectorAll(".opblock-summary-control a[href]").forEach((link) => link.removeAttribute("href"));
new MutationObserver(mend).observe(document.querySelector("#docs"), { childList: true, subtree: true });

const show = (spec) => SwaggerUIBundle({
  /* Calls are tried here, whichever name this server has for others: the page may ask no other. */
  spec: { ...spec, servers: undefined },
  dom_id: "#docs",
  plugins: [Layout],
  layout: "Layout",
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  // It would send the document elsewhere to be judged.
  validatorUrl: null,
  // A key that is typed here is forgotten with the page.
  persistAuthorization: false,
  /* Without a press of a button first. */
  tryItOutEnabled: true,
});

fetch("/openapi.json")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.status))))
  .then(show)
  .catch((error) => {
    document.querySelector("#docs .lead").textContent = `No answer (${error.message}). Load this page again.`;
  });
