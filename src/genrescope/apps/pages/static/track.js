// One sound, what the recogniser says of it, and why. All text goes in as text, never as markup.
import { clock, mark } from "./drawing.js";
import { Plots } from "./plots.js";

const KEPT = "genrescope-tracks";
const MOST = 20;

const percent = (p) => (p > 0 && p < 0.005 ? "< 1 %" : Math.round(100 * p) + " %");

// An element with properties and children; strings become text.
function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "style") for (const [key, v] of Object.entries(value)) made.style.setProperty(key, v);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

async function ask(url, body) {
  const how = { headers: { Accept: "application/json" } };
  if (body !== undefined) {
    how.method = "POST";
    how.headers["Content-Type"] = "application/json";
    how.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(url, how);
  } catch (error) {
    throw new Error("The server does not answer. Is it still running?");
  }
  return told(answer.status, await answer.text());
}

// What a response says; an error in the server's own words.
function told(status, text) {
  let content = null;
  try {
    content = text ? JSON.parse(text) : null;
  } catch (error) {
    content = null;
  }
  if (status >= 200 && status < 300) return content;
  const trouble = new Error((content && content.detail) || `The server answered with status ${status}.`);
  trouble.title = content && content.title;
  throw trouble;
}

class Track extends HTMLElement {
  connectedCallback() {
    if (this.ready) return;
    this.ready = true;
    this.told = JSON.parse(this.dataset.told);
    this.turn = 0; // counts what was opened, so that late answers are dropped
    this.now = null;
    this.at = (id) => this.querySelector("#" + id);
    this.plots = new Plots(this);
    this.opening();
    this.at("ask").addEventListener("click", () => this.explain());
    this.at("why-genre").addEventListener("change", () => this.nameAsk());
    this.at("another").addEventListener("click", () => this.begin());
    const query = new URLSearchParams(location.search);
    if (query.has("sample")) this.open({ sample: query.get("sample") });
    else if (query.has("path")) this.open({ path: query.get("path") });
  }

  // --- a file comes -----------------------------------------------------------------------------

  opening() {
    const drop = this.at("drop");
    const file = this.at("file");
    file.addEventListener("change", () => {
      if (file.files.length) this.upload(file.files[0]);
      file.value = "";
    });
    for (const button of this.querySelectorAll("[data-sample]"))
      button.addEventListener("click", () => this.open({ sample: button.dataset.sample }));
    // A file may be dropped anywhere on the page.
    let depth = 0;
    const withFile = (event) => event.dataTransfer && event.dataTransfer.types.includes("Files");
    document.addEventListener("dragenter", (event) => {
      if (withFile(event)) drop.classList.toggle("over", ++depth > 0);
    });
    document.addEventListener("dragleave", (event) => {
      if (withFile(event)) drop.classList.toggle("over", --depth > 0);
    });
    document.addEventListener("dragover", (event) => {
      if (withFile(event)) event.preventDefault();
    });
    document.addEventListener("drop", (event) => {
      if (!withFile(event)) return;
      event.preventDefault();
      depth = 0;
      drop.classList.remove("over");
      if (event.dataTransfer.files.length) this.upload(event.dataTransfer.files[0]);
    });
  }

  begin() {
    this.turn++;
    this.plots.stop();
    this.show("start");
    window.gsStatus("Ready.");
    history.replaceState(null, "", location.pathname);
    this.at("file").focus();
  }

  // Keep what was recognised in this tab, newest first: the map shows it. What falls off is closed.
  remember(answer) {
    const { id, name, url } = this.now;
    const { title, artist, best: genre, sure, position, similar } = answer;
    let kept = [];
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT)) || [];
    } catch (error) {
      kept = [];
    }
    kept = [{ id, name, url, title, artist, genre, sure, position, similar }, ...kept.filter((one) => one.id !== id)];
    for (const one of kept.splice(MOST)) fetch(one.url + "/close", { method: "POST", keepalive: true }).catch(() => {});
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(kept));
    } catch (error) {
      // No storage: the map shows known tracks only.
    }
  }

  show(name) {
    for (const id of ["start", "coming", "result"]) this.at(id).hidden = id !== name;
    this.at("trouble").hidden = true;
  }

  trouble(error) {
    this.show("start");
    const box = this.at("trouble");
    box.replaceChildren(
      el("p", {}, el("strong", { textContent: error.title || "That did not work" })),
      el("p", { textContent: error.message })
    );
    box.hidden = false;
    box.scrollIntoView({ block: "nearest" });
    window.gsStatus("Ready.");
  }

  upload(file) {
    const turn = ++this.turn;
    this.plots.stop();
    if (file.size > this.told.max_bytes) {
      this.trouble(
        new Error(
          `${file.name} has ${Math.ceil(file.size / 1e6)} MB; this server takes ` +
            `${Math.floor(this.told.max_bytes / 1e6)} MB at most.`
        )
      );
      return;
    }
    this.show("coming");
    const bar = this.at("coming-bar");
    bar.removeAttribute("value");
    this.at("coming-text").textContent = `Sending ${file.name} …`;
    window.gsStatus("Sending the file …");
    const request = new XMLHttpRequest();
    request.open("POST", "/pages/track/upload?name=" + encodeURIComponent(file.name));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) bar.value = event.loaded / event.total;
    });
    request.addEventListener("load", () => {
      if (turn !== this.turn) return;
      try {
        this.opened(told(request.status, request.responseText), turn);
      } catch (error) {
        this.trouble(error);
      }
    });
    request.addEventListener("error", () => {
      if (turn === this.turn)
        this.trouble(new Error("The file could not be sent. It may have changed, or the server stopped."));
    });
    request.send(file);
  }

  async open(what) {
    const turn = ++this.turn;
    this.plots.stop();
    this.show("coming");
    this.at("coming-bar").removeAttribute("value");
    this.at("coming-text").textContent = "Opening …";
    try {
      const sound = await ask("/pages/track/open", what);
      if (turn === this.turn) this.opened(sound, turn);
    } catch (error) {
      if (turn === this.turn) this.trouble(error);
    }
  }

  // --- a sound is open --------------------------------------------------------------------------

  opened(sound, turn) {
    this.now = sound;
    this.show("result");
    this.at("title").textContent = sound.name;
    this.at("artist").textContent = "";
    this.at("answer").setAttribute("aria-busy", "true");
    this.at("answer").replaceChildren(
      el("div", { className: "verdict" }, el("p", { className: "waiting" }, "Listening …"), el("progress", { "aria-label": "Listening" }))
    );
    this.at("more").replaceChildren();
    this.at("over-time").hidden = true;
    this.at("rows").replaceChildren();
    this.at("moments").replaceChildren();
    this.at("why").hidden = !this.told.explains;
    this.at("ask").disabled = true;
    for (const id of ["why-coming", "why-trouble", "why-told"]) this.at(id).hidden = true;
    window.gsStatus("Listening …");
    this.plots.open(sound.url);
    const failed = (error) => {
      if (turn === this.turn) this.trouble(error);
    };
    ask(sound.url + "/look").then((look) => {
      if (turn === this.turn) this.plots.draw(look);
    }, failed);
    ask(sound.url + "/answer", {}).then((answer) => {
      if (turn === this.turn) this.answered(answer);
    }, failed);
    scrollTo({ top: 0 });
  }

  answered(answer) {
    this.answer = answer;
    this.remember(answer);
    if (answer.title) this.at("title").textContent = answer.title;
    this.at("artist").textContent = [answer.artist, answer.title ? answer.file : null].filter(Boolean).join(" · ");
    const box = this.at("answer");
    const [verdict, ...more] = this.said(answer);
    box.replaceChildren(verdict);
    this.at("more").replaceChildren(...more);
    box.setAttribute("aria-busy", "false");
    this.plots.over(answer);
    const select = this.at("why-genre");
    select.replaceChildren(
      ...Object.keys(answer.probabilities).map((genre) => el("option", { value: genre, textContent: genre }))
    );
    this.nameAsk();
    this.at("ask").disabled = false;
    window.gsStatus(answer.sure ? `It is ${answer.genre}.` : "Not sure.");
  }

  nameAsk() {
    this.at("ask").textContent = `Show what spoke for ${this.at("why-genre").value}`;
  }

  said(answer) {
    const colour = (genre) => answer.marks[genre][0];
    const parts = [];
    const share = el("span", { className: "share", textContent: percent(answer.confidence) });
    const nine = Math.round(10 * this.told.level);
    if (answer.sure) {
      parts.push(
        el(
          "div",
          { className: "verdict", style: { "--of": colour(answer.genre) } },
          el("p", { className: "say" }, mark(answer.marks[answer.genre]), answer.genre, share)
        )
      );
    } else {
      const reason = answer.reason.charAt(0).toUpperCase() + answer.reason.slice(1);
      parts.push(
        el(
          "div",
          { className: "verdict unsure" },
          el("p", { className: "say", textContent: "Not sure" }),
          el("p", { textContent: `${reason}.`.replace("..", ".") }),
          el("p", {}, "Best guess: ", mark(answer.marks[answer.best]), `${answer.best}, ${percent(answer.confidence)}.` + (answer.doubt ? " Here that means little." : ""))
        )
      );
    }
    const verdict = parts[0];
    const plausible = answer.plausible;
    if (!answer.doubt) {
      const others = plausible.length === 1 ? "No other genre is plausible." : `Plausible: ${plausible.join(", ")}.`;
      verdict.append(
        el("p", { className: "gs-quiet", textContent: `${others} A set like this one holds the right genre ${nine} times in 10.` })
      );
    }
    if (answer.trained_on)
      verdict.append(
        el("p", { className: "gs-quiet", textContent: "The recogniser was trained on this very track, so this does not show how good it is." })
      );
    parts.push(
      el("h2", { textContent: "How probable" }),
      el(
        "ul",
        { className: "bars" },
        ...Object.entries(answer.probabilities).map(([genre, p]) =>
          el(
            "li",
            { className: plausible.includes(genre) && !answer.doubt ? "in" : "out", style: { "--of": colour(genre) } },
            el("span", { className: "name" }, mark(answer.marks[genre]), genre),
            el("span", { className: "bar", "aria-hidden": "true" }, el("i", { style: { width: 100 * p + "%" } })),
            el("span", { className: "n", textContent: percent(p) })
          )
        )
      )
    );
    if (answer.branches.some((branch) => branch.path.length > 1))
      parts.push(
        el("h2", { textContent: "More precisely" }),
        el(
          "ul",
          { className: "branches" },
          ...answer.branches.map((branch) =>
            el("li", {}, el("span", { textContent: branch.path.join(" › ") }), el("span", { className: "n", textContent: percent(branch.probability) }))
          )
        )
      );
    const facts = [
      ["Genre in the tags", answer.tagged_genres.length ? answer.tagged_genres.join(", ") : "none"],
      ["Heard by", answer.sources.join(", ")],
      ["Length", clock(Math.round(answer.duration), true)],
    ];
    parts.push(
      el("h2", { textContent: "The file" }),
      el("dl", { className: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", { textContent: value })]))
    );
    if (answer.similar.length)
      parts.push(
        el("h2", { textContent: "Known tracks that sound like it" }),
        el(
          "ol",
          { className: "similar" },
          ...answer.similar.map((one) =>
            el(
              "li",
              {},
              answer.marks[one.genre] ? mark(answer.marks[one.genre]) : null,
              el("a", { href: `/map?known=${one.track_id}`, textContent: one.title || `No. ${one.track_id}` }),
              el("small", { textContent: [one.artist, one.genre, one.words].filter(Boolean).map((text) => " · " + text).join("") })
            )
          )
        )
      );
    parts.push(
      el("p", {}, el("a", answer.position ? { href: `/map?track=${this.now.id}`, textContent: "See its place on the map" } : { href: "/map", textContent: "See the map of all genres" }))
    );
    return parts;
  }

  // --- why --------------------------------------------------------------------------------------

  async explain() {
    const turn = this.turn;
    const genre = this.at("why-genre").value;
    const button = this.at("ask");
    const coming = this.at("why-coming");
    const text = this.at("why-text");
    const started = performance.now();
    const tell = () => {
      const seconds = Math.round((performance.now() - started) / 1000);
      text.textContent = `Hiding parts and asking again: ${seconds} s so far, some 5 to 15 s in all.`;
    };
    button.disabled = true;
    this.at("why-trouble").hidden = true;
    this.at("why-told").hidden = true;
    coming.hidden = false;
    tell();
    const ticking = setInterval(tell, 1000);
    window.gsStatus("Looking for reasons …");
    try {
      const body = { genre };
      if (this.plots.duration > 45 && this.plots.moved) body.at = this.plots.time;
      const why = await ask(this.now.url + "/why", body);
      if (turn === this.turn) await this.reasons(why);
    } catch (error) {
      if (turn === this.turn) {
        const box = this.at("why-trouble");
        box.replaceChildren(el("p", { textContent: error.message }));
        box.hidden = false;
      }
    } finally {
      clearInterval(ticking);
      coming.hidden = true;
      button.disabled = false;
      if (turn === this.turn) window.gsStatus("Ready.");
    }
  }

  async reasons(why) {
    const first = why.start;
    const last = why.start + why.seconds;
    const plots = this.plots;
    if (plots.duration > last - first + 1) {
      const look = await ask(`${this.now.url}/look?start=${first}&stop=${Math.min(last, plots.duration)}`);
      plots.piece(look);
    }
    plots.explain(why);
    if (!plots.sounding && (plots.time < first || plots.time > last)) plots.seek(first);
    const shown = el("button", { type: "button", className: "gs-button small", "aria-pressed": "true", textContent: "Over the spectrogram" });
    shown.addEventListener("click", () => {
      const on = shown.getAttribute("aria-pressed") !== "true";
      shown.setAttribute("aria-pressed", on);
      plots.overlay(on);
    });
    const only = el("button", { type: "button", className: "gs-button small", "aria-pressed": "false", textContent: `Hear only what spoke for ${why.genre}` });
    only.addEventListener("click", () => {
      const on = only.getAttribute("aria-pressed") !== "true";
      only.setAttribute("aria-pressed", on);
      if (on) plots.source(why.sound, first);
      else plots.source(this.now.url + "/sound", 0);
    });
    const box = this.at("why-told");
    box.replaceChildren(
      el(
        "ul",
        { className: "legend" },
        el("li", {}, el("i", { className: "for", textContent: "+", "aria-hidden": "true" }), `spoke for ${why.genre}`),
        el("li", {}, el("i", { className: "against", textContent: "−", "aria-hidden": "true" }), "spoke against it")
      ),
      el("div", { className: "choices" }, shown, only),
      ...why.in_short.map((line) => el("p", { textContent: line })),
      el("details", {}, el("summary", { textContent: "Is that true?" }), ...why.is_it_true.map((line) => el("p", { className: "gs-quiet", textContent: line })))
    );
    box.hidden = false;
    const stack = this.at("stack").getBoundingClientRect();
    if (stack.bottom < 0 || stack.top > innerHeight) this.at("stack").scrollIntoView({ block: "nearest" });
  }
}

customElements.define("gs-track", Track);
