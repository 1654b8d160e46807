"use strict";
// What every page does for its reader: light and dark, and where in the contents one is.
(function () {
  const root = document.documentElement;

  const button = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", dark() ? "Switch to light" : "Switch to dark");
    document.dispatchEvent(new Event("themechange"));
  };
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try {
      localStorage.setItem("genrescope-theme", root.dataset.theme);
    } catch (error) {
      // No storage: the choice holds for this visit.
    }
    show();
  });
  system.addEventListener("change", show);

  const links = new Map();
  for (const link of document.querySelectorAll(".contents a"))
    links.set(link.getAttribute("href").slice(1), link);
  const reading = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.classList.remove("here");
        links.get(entry.target.id).classList.add("here");
      }
    },
    { rootMargin: "-10% 0px -80% 0px" }
  );
  for (const section of document.querySelectorAll("main > section")) reading.observe(section);
})();
