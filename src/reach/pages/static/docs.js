"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  layout: "BaseLayout",
  deepLinking: true,
  defaultModelsExpandDepth: -1,
  // It would send the document elsewhere to be judged.
  validatorUrl: null,
  // A key that is typed here is forgotten with the page.
  persistAuthorization: false,
});
