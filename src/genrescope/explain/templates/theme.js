// Before anything is painted: the theme that was chosen last time, and that scripts run.
(function () {
  var root = document.documentElement;
  root.classList.add("js");
  try {
    var kept = localStorage.getItem("genrescope-theme");
    if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  } catch (error) {
    // A page opened from disk may have no storage; then the system's theme holds.
  }
  window.genrescope = { figures: 0, drawn: 0, errors: [] };
  window.addEventListener("error", function (event) {
    window.genrescope.errors.push(String(event.message));
  });
})();
