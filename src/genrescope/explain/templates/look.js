"use strict";
(function () {
  const body = document.body;

  // --- one deck a track: its sound, and where it is ---------------------------------------------

  const decks = Array.from(document.querySelectorAll(".deck"), (element) => ({
    start: Number(element.dataset.start),
    stop: Number(element.dataset.stop),
    audio: element.querySelector("audio"),
    clock: element.querySelector(".clock"),
    at: Number(element.dataset.start), // s of the track
    panes: [],
  }));

  for (const element of document.querySelectorAll(".pane")) {
    const deck = decks[Number(element.dataset.track)];
    const pane = {
      element,
      deck,
      cursor: element.querySelector(".cursor"),
      start: Number(element.dataset.start),
      stop: Number(element.dataset.stop),
      scroll: element.closest(".scroll"),
    };
    deck.panes.push(pane);
    listen(pane);
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function show(deck) {
    deck.clock.textContent = deck.at.toFixed(1) + " s";
    for (const pane of deck.panes) {
      const share = (deck.at - pane.start) / (pane.stop - pane.start);
      pane.cursor.style.left = 100 * clamp(share, 0, 1) + "%";
      if (pane.element.hasAttribute("role")) {
        pane.element.setAttribute("aria-valuenow", deck.at.toFixed(1));
        pane.element.setAttribute("aria-valuetext", deck.at.toFixed(1) + " seconds");
      }
    }
  }

  // Where a picture is wider than the screen, the line stays in sight.
  function follow(deck) {
    for (const { element, cursor, scroll } of deck.panes) {
      if (scroll.scrollWidth <= scroll.clientWidth + 1) continue;
      const place = element.offsetLeft + cursor.offsetLeft;
      const margin = scroll.clientWidth * 0.15;
      if (place < scroll.scrollLeft + margin || place > scroll.scrollLeft + scroll.clientWidth - margin)
        scroll.scrollLeft = place - scroll.clientWidth * 0.3;
    }
  }

  function tick(deck) {
    deck.at = deck.start + deck.audio.currentTime;
    show(deck);
    follow(deck);
    if (!deck.audio.paused) requestAnimationFrame(() => tick(deck));
  }

  function play(deck) {
    if (!deck.audio) return;
    const started = deck.audio.play();
    if (started) started.catch(() => {}); // a browser may refuse until the page was clicked
  }

  function seek(deck, time) {
    deck.at = clamp(time, deck.start, deck.stop);
    if (deck.audio) {
      const sounding = decks.some((one) => one.audio && !one.audio.paused);
      deck.audio.currentTime = deck.at - deck.start;
      if (sounding) play(deck);
    }
    show(deck);
  }

  function toggle(deck) {
    if (!deck.audio) return;
    if (deck.audio.paused) play(deck);
    else deck.audio.pause();
  }

  for (const deck of decks) {
    show(deck);
    if (!deck.audio) continue;
    deck.audio.addEventListener("play", () => {
      for (const other of decks) if (other !== deck && other.audio) other.audio.pause();
      tick(deck);
    });
    for (const name of ["seeked", "pause", "timeupdate"])
      deck.audio.addEventListener(name, () => {
        if (deck.audio.paused) {
          deck.at = deck.start + deck.audio.currentTime;
          show(deck);
        }
      });
  }

  // --- pictures that answer ---------------------------------------------------------------------

  function listen(pane) {
    const { element } = pane;
    const to = (event) => {
      const box = element.getBoundingClientRect();
      const share = clamp((event.clientX - box.left) / box.width, 0, 1);
      seek(pane.deck, pane.start + share * (pane.stop - pane.start));
    };
    let held = false;
    element.addEventListener("click", to);
    element.addEventListener("pointerdown", (event) => {
      held = event.pointerType === "mouse" && event.button === 0;
      if (held) element.setPointerCapture(event.pointerId);
    });
    element.addEventListener("pointermove", (event) => {
      if (held) to(event);
    });
    for (const name of ["pointerup", "pointercancel"])
      element.addEventListener(name, () => {
        held = false;
      });

    // One stop for the keyboard in each picture is enough.
    if (!element.hasAttribute("data-first")) return;
    const title = element.closest("figure").querySelector("h3").textContent;
    element.tabIndex = 0;
    element.setAttribute("role", "slider");
    element.setAttribute("aria-label", "Time in: " + title);
    element.setAttribute("aria-valuemin", pane.deck.start);
    element.setAttribute("aria-valuemax", pane.deck.stop);
    element.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 5 : 1;
      const deck = pane.deck;
      if (event.key === "ArrowRight" || event.key === "ArrowUp") seek(deck, deck.at + step);
      else if (event.key === "ArrowLeft" || event.key === "ArrowDown") seek(deck, deck.at - step);
      else if (event.key === "Home") seek(deck, deck.start);
      else if (event.key === "End") seek(deck, deck.stop);
      else if (event.key === " " || event.key === "Enter") toggle(deck);
      else return;
      event.preventDefault();
    });
  }

  body.dataset.ready = "true";
})();
