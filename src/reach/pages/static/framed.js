// Tells the page around a frame how high the form is. That is no secret, so any page may know it.
"use strict";

const tell = () => {
  const { height } = document.documentElement.getBoundingClientRect();
  parent.postMessage({ reachHeight: Math.ceil(height) }, "*");
};
new ResizeObserver(tell).observe(document.documentElement);
