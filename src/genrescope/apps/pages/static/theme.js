// Before anything is painted: the theme that was chosen last time. The rest of the pages (Quasar's
// widgets among them) follow it.
"use strict";
(function () {
  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const KEY = "genrescope-theme";

  function kept() {
    try {
      const value = localStorage.getItem(KEY);
      return value === "light" || value === "dark" ? value : null;
    } catch (error) {
      return null; // no storage: the system's theme holds
    }
  }

  let chosen = kept();

  function dark() {
    return chosen ? chosen === "dark" : system.matches;
  }

  function apply() {
    root.dataset.theme = dark() ? "dark" : "light";
    if (window.Quasar && document.body) window.Quasar.Dark.set(dark());
    document.dispatchEvent(new CustomEvent("gs-theme"));
  }

  apply();
  system.addEventListener("change", apply);

  class Theme extends HTMLElement {
    connectedCallback() {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "gs-theme";
      const label = () => {
        button.textContent = dark() ? "Light" : "Dark";
        button.setAttribute("aria-label", dark() ? "Switch to light colours" : "Switch to dark colours");
      };
      button.addEventListener("click", () => {
        chosen = dark() ? "light" : "dark";
        try {
          localStorage.setItem(KEY, chosen);
        } catch (error) {
          // The choice holds for this page.
        }
        apply();
      });
      document.addEventListener("gs-theme", label);
      label();
      this.replaceChildren(button);
      apply(); // Quasar is there by now
    }
  }
  customElements.define("gs-theme", Theme);

  // One line at the foot of every page says what is going on.
  window.gsStatus = function (text) {
    const line = document.getElementById("gs-status");
    if (line && line.textContent !== text) line.textContent = text;
  };
})();
