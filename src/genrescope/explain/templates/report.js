"use strict";
(function () {
  const state = window.genrescope;
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("payload").textContent);
  const NOBODY = 0xffff;
  const NARROW = 620; // CSS pixels: below this a legend goes under its plot
  const MANY = 2500; // points that SVG still draws at once

  // --- small things ---------------------------------------------------------------------------

  // plotly reads a little HTML in texts; names are text and nothing else.
  const safe = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "\u2026" : text);

  function unpack(text, kind) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new kind(bytes.buffer);
  }

  function hasWebGL() {
    try {
      const canvas = document.createElement("canvas");
      const gl = canvas.getContext("webgl") || canvas.getContext("experimental-webgl");
      const lose = gl && gl.getExtension("WEBGL_lose_context");
      if (lose) lose.loseContext();
      return Boolean(gl);
    } catch (error) {
      return false;
    }
  }
  const webgl = hasWebGL();

  // --- the numbers ----------------------------------------------------------------------------

  const tracks = {
    artist: unpack(data.tracks.artist, Uint32Array),
    genre: unpack(data.tracks.genre, Uint16Array),
    predicted: unpack(data.tracks.predicted, Uint16Array),
    sure: unpack(data.tracks.sure, Uint8Array),
  };

  function about(i) {
    const genre = data.genres[tracks.genre[i]].name;
    const artist = data.tracks.artists[tracks.artist[i]];
    const guess = tracks.predicted[i];
    const taken =
      guess === NOBODY
        ? "not scored"
        : `taken for ${safe(data.genres[guess].name)} (${tracks.sure[i]} %)`;
    return (
      `<b>${safe(data.tracks.title[i])}</b><br>` +
      (artist ? `${safe(artist)}<br>` : "") +
      `${safe(genre)}, ${taken}`
    );
  }

  // --- maps -----------------------------------------------------------------------------------

  function mapTraces(map) {
    const axes = map.axes.map((axis) => {
      const steps = unpack(axis.v, Uint16Array);
      return Array.from(steps, (s) => (s === 65535 ? NaN : axis.low + s * axis.step));
    });
    const fitted = unpack(map.fitted, Uint8Array);
    const kind = map.dims === 3 ? "scatter3d" : webgl && data.tracks.n > MANY ? "scattergl" : "scatter";
    const size = Math.max(3, Math.min(9, 320 / Math.sqrt(data.tracks.n)));
    const traces = [];
    const count = data.genres.map(() => 0);
    tracks.genre.forEach((g) => (count[g] += 1));
    const order = data.genres.map((_, g) => g).sort((a, b) => count[b] - count[a]);
    // The largest first, so that it does not hide the others; the legend stays in order.
    order.forEach((g) => {
      const genre = data.genres[g];
      let named = false;
      for (const used of [1, 0]) {
        const rows = [];
        for (let i = 0; i < data.tracks.n; i++)
          if (tracks.genre[i] === g && fitted[i] === used) rows.push(i);
        if (!rows.length) continue;
        const trace = {
          type: kind,
          mode: "markers",
          name: safe(short(genre.name, 24)),
          legendgroup: "g" + g,
          legendrank: g + 1,
          showlegend: !named,
          text: rows.map(about),
          hovertemplate: "%{text}" + (used ? "" : "<br>placed afterwards") + "<extra></extra>",
          marker: {
            color: genre.colour,
            size: map.dims === 3 ? size * 0.8 : size,
            symbol: genre.shape + (used ? "" : "-open"),
            opacity: map.dims === 3 ? 0.85 : 0.75,
            line: { width: used ? 0 : 1, color: genre.colour },
          },
        };
        "xyz".slice(0, map.dims).split("").forEach((letter, a) => {
          trace[letter] = rows.map((i) => axes[a][i]);
        });
        traces.push(trace);
        named = true;
      }
    });
    return traces;
  }

  function axisLook(title) {
    return {
      title: { text: safe(title), font: { size: 12 } },
      gridcolor: css("--grid"),
      linecolor: css("--grid"),
      zerolinecolor: css("--grid"),
      tickfont: { color: css("--quiet"), size: 10 },
      showbackground: false,
      color: css("--ink"),
    };
  }

  function look(width) {
    const narrow = width < NARROW;
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--sans"), color: css("--ink"), size: 12 },
      hoverlabel: {
        bgcolor: css("--paper"),
        bordercolor: css("--quiet"),
        font: { color: css("--ink"), family: css("--sans"), size: 13 },
        align: "left",
      },
      legend: narrow
        ? { orientation: "h", y: -0.16, x: 0, itemsizing: "constant" }
        : { x: 1.02, y: 1, itemsizing: "constant" },
      hovermode: "closest",
      modebar: {
        bgcolor: "rgba(0,0,0,0)", color: css("--quiet"), activecolor: css("--accent"),
        orientation: "h",
      },
      uirevision: "keep",
      separators: ". ",
    };
  }

  function mapFigure(map, width) {
    const narrow = width < NARROW;
    const layout = Object.assign(look(width), {
      height: narrow ? 520 : 600,
      margin: narrow ? { l: 40, r: 10, t: 34, b: 40 } : { l: 55, r: 10, t: 34, b: 50 },
    });
    if (map.dims === 3) {
      layout.margin = { l: 0, r: 0, t: 34, b: 0 };
      layout.scene = {
        xaxis: axisLook(map.names[0]),
        yaxis: axisLook(map.names[1]),
        zaxis: axisLook(map.names[2]),
        aspectmode: "cube",
      };
      if (narrow) layout.legend.y = -0.02;
    } else {
      layout.xaxis = Object.assign(axisLook(map.names[0]), { zeroline: false });
      layout.yaxis = Object.assign(axisLook(map.names[1]), {
        zeroline: false,
        scaleanchor: map.method === "t-SNE" ? "x" : undefined,
      });
      layout.dragmode = "pan";
    }
    return { data: mapTraces(map), layout };
  }

  // --- the confusion matrix -------------------------------------------------------------------

  function confusionFigure(found, width) {
    const k = found.genres.length;
    const narrow = width < NARROW;
    const most = narrow ? 10 : 20;
    const names = found.genres.map((name) => safe(short(name, most)));
    const signed = found.shares.map((row, r) => row.map((v, c) => (r === c ? v : -v)));
    const percent = (v) => (100 * v).toFixed(v > 0 && v < 0.095 ? 1 : 0);
    const roomy = !narrow && k <= 10;
    const text = found.shares.map((row, r) =>
      row.map((v, c) => {
        const n = found.counts[r][c];
        if (!n || (narrow && k > 10)) return "";
        return roomy ? `${percent(v)} %<br>${n}` : String(Math.round(100 * v));
      })
    );
    const about = found.shares.map((row, r) =>
      row.map(
        (v, c) =>
          `<b>${safe(found.genres[r])}</b> ` +
          (r === c ? "recognised" : `taken for <b>${safe(found.genres[c])}</b>`) +
          `<br>${found.counts[r][c]} tracks, ${percent(v)} % of the genre`
      )
    );
    const layout = Object.assign(look(width), {
      height: Math.max(380, Math.min(720, width * 0.85)),
      margin: { l: 10, r: 10, t: 10, b: 10 },
      dragmode: false,
      xaxis: Object.assign(axisLook("taken for"), {
        tickvals: names.map((_, i) => i), ticktext: names, tickangle: -40, automargin: true,
        tickfont: { color: css("--ink"), size: narrow ? 10 : 12 },
        showgrid: false, zeroline: false, fixedrange: true, ticks: "",
      }),
      yaxis: Object.assign(axisLook("true genre"), {
        tickvals: names.map((_, i) => i), ticktext: names, autorange: "reversed",
        tickfont: { color: css("--ink"), size: narrow ? 10 : 12 },
        automargin: true, showgrid: false, zeroline: false, fixedrange: true, ticks: "",
      }),
    });
    const trace = {
      type: "heatmap",
      z: signed,
      zmin: -1,
      zmax: 1,
      xgap: 2,
      ygap: 2,
      colorscale: [[0, css("--alert")], [0.5, css("--paper")], [1, css("--accent")]],
      showscale: false,
      text,
      texttemplate: "%{text}",
      textfont: { size: roomy ? 12 : 10 },
      customdata: about,
      hovertemplate: "%{customdata}<extra></extra>",
    };
    return { data: [trace], layout };
  }

  // --- drawing when it is looked at -----------------------------------------------------------

  const figures = Array.from(document.querySelectorAll("figure"));
  state.figures = figures.length;

  function done(figure) {
    if (figure.dataset.drawn === "true") return;
    figure.dataset.drawn = "true";
    state.drawn += 1;
  }

  function build(figure) {
    const name = figure.dataset.plot;
    const width = figure.clientWidth;
    if (name === "confusion") return confusionFigure(data.confusion, width);
    return mapFigure(data.maps[name], width);
  }

  function still(figure, reason) {
    figure.classList.remove("live");
    figure.classList.add("still");
    const said = figure.querySelector(".fallback");
    said.textContent = reason;
    said.hidden = false;
    done(figure);
  }

  // The buttons are named one by one, because among plotly's own is one that uploads the figure.
  const config = {
    displaylogo: false,
    responsive: true,
    scrollZoom: true,
    showSendToCloud: false,
    plotlyServerURL: "",
    topojsonURL: "none",
  };
  const BUTTONS = {
    2: [["toImage"], ["pan2d", "zoom2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    3: [["toImage"], ["orbitRotation", "pan3d", "zoom3d"], ["resetCameraDefault3d"]],
  };

  async function draw(figure) {
    const map = data.maps[figure.dataset.plot];
    if (map && map.dims === 3 && !webgl) {
      still(figure, "This browser has no WebGL, so the 3-D map is shown as a still picture.");
      return;
    }
    const plot = figure.querySelector(".plot");
    try {
      figure.classList.add("live");
      const made = build(figure);
      const own = map
        ? { modeBarButtons: BUTTONS[map.dims] }
        : { displayModeBar: false, scrollZoom: false };
      await Plotly.react(plot, made.data, made.layout, Object.assign({}, config, own));
      figure.dataset.width = figure.clientWidth < NARROW ? "narrow" : "wide";
      done(figure);
    } catch (error) {
      state.errors.push(`${figure.id}: ${error}`);
      still(figure, "The interactive figure could not be drawn; this is the still picture.");
    }
  }

  function redraw() {
    for (const figure of figures)
      if (figure.classList.contains("live") && figure.clientWidth) draw(figure);
  }

  // A browser holds only a few WebGL surfaces; a map that is put away gives its own back.
  function putAway(figure) {
    if (!figure.classList.contains("live")) return;
    Plotly.purge(figure.querySelector(".plot"));
    figure.classList.remove("live");
  }

  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries)
        if (entry.isIntersecting && !entry.target.classList.contains("live") &&
            !entry.target.classList.contains("still"))
          draw(entry.target);
    },
    { rootMargin: "300px" }
  );
  for (const figure of figures) {
    if (figure.dataset.plot) watcher.observe(figure);
    else if (figure.querySelector("svg path, svg use, svg image")) done(figure);
    else state.errors.push(`${figure.id}: the drawing is empty`);
  }

  let resized = 0;
  window.addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => {
      for (const figure of figures) {
        const now = figure.clientWidth < NARROW ? "narrow" : "wide";
        if (figure.classList.contains("live") && figure.clientWidth && figure.dataset.width !== now)
          draw(figure);
      }
    }, 200);
  });

  // --- tabs -----------------------------------------------------------------------------------

  for (const list of document.querySelectorAll("[role=tablist]")) {
    const tabs = Array.from(list.querySelectorAll("[role=tab]"));
    const open = (chosen) => {
      for (const tab of tabs) {
        const panel = document.getElementById(tab.getAttribute("aria-controls"));
        const on = tab === chosen;
        tab.setAttribute("aria-selected", on);
        tab.tabIndex = on ? 0 : -1;
        panel.classList.toggle("open", on);
        if (!on) putAway(panel.querySelector("figure"));
      }
    };
    tabs.forEach((tab, at) => {
      tab.addEventListener("click", () => open(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = tabs[(at + step + tabs.length) % tabs.length];
        open(next);
        next.focus();
        event.preventDefault();
      });
    });
  }

  // --- tables that sort -----------------------------------------------------------------------

  function value(row, column) {
    const kept = row.cells[column].dataset.sort;
    if (kept === undefined) return null;
    return row.cells[column].classList.contains("n") ? Number(kept) : kept;
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("n") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = Array.from(body.rows).map((row) => [value(row, column), row]);
        rows.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return sign * (a < b ? -1 : a > b ? 1 : 0);
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  // Colours of plots are read when they are drawn.
  document.addEventListener("themechange", redraw);
})();
