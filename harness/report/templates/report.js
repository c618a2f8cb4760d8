"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const find = (selector, from = document) => from.querySelector(selector);
  const findAll = (selector, from = document) => [...from.querySelectorAll(selector)];
  const data = JSON.parse(find("#data").textContent);
  let evidence = null; // read when the first panel opens: it is most of the file
  const statuses = new Map(data.statuses.map((status, rank) => [status.word, { ...status, rank }]));
  const worst = (words) => words.reduce((a, b) => (statuses.get(a).rank <= statuses.get(b).rank ? a : b));
  const form = find("#filters");
  const panel = find("#panel");
  const body = find("#panel-body");

  // Squares: the cells of a grid's row and column, beside their place in the table.
  const tables = findAll("table.squares");
  const squares = data.grids.map((grid) => grid.clients.map(() => grid.columns.map(() => ({ cells: [] }))));
  tables.forEach((table, g) => {
    [...table.tBodies[0].rows].forEach((row, r) => {
      squares[g][r].forEach((square, c) => {
        square.at = row.cells[c + 1];
        square.seen = square.at.textContent;
      });
    });
  });
  const byId = new Map();
  for (const cell of data.cells) {
    byId.set(cell.id, cell);
    squares[cell.grid][cell.row][cell.column].cells.push(cell);
  }
  const outcomeText = data.outcomes.map((checks) => checks.flat().join("\n").toLowerCase());

  // The state is what the address says after #.
  const fields = ["client", "service", "check", "probe", "grid", "text"];
  const read = () => {
    const params = new URLSearchParams(location.hash.slice(1));
    const state = Object.fromEntries([...fields, "cell", "stage"].map((key) => [key, params.get(key) ?? ""]));
    state.status = (params.get("status") ?? "").split(",").filter((word) => statuses.has(word));
    return state;
  };
  const write = (state, push = false) => {
    const params = new URLSearchParams();
    for (const key of [...fields, "status", "cell", "stage"]) {
      const value = key === "status" ? state.status.join(",") : state[key];
      if (value) params.set(key, value);
    }
    // Ids stay readable in a link.
    const hash = params.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
    history[push ? "pushState" : "replaceState"](null, "", `#${hash}`);
  };
  let state = read();

  // Ranges of versions: "2.2" is all of 2.2, conditions joined by commas hold together.
  const numbers = (name) => (name.match(/\d+/g) ?? []).map(Number);
  const compare = (a, b) => {
    for (let i = 0; i < Math.max(a.length, b.length); i++) {
      const difference = (a[i] ?? 0) - (b[i] ?? 0);
      if (difference) return difference;
    }
    return 0;
  };
  const holds = {
    ">=": (order) => order >= 0,
    "<=": (order) => order <= 0,
    ">": (order) => order > 0,
    "<": (order) => order < 0,
    "==": (order) => order === 0,
    "!=": (order) => order !== 0,
  };
  const inRange = (text) => {
    const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
    const conditions = [];
    const named = [];
    for (const part of parts) {
      const match = part.match(/^(>=|<=|==|!=|>|<)\s*(.+)$/);
      if (match) conditions.push([holds[match[1]], numbers(match[2])]);
      else named.push(part.toLowerCase());
    }
    return (name) => {
      const own = numbers(name);
      const short = name.toLowerCase().replace(/^(reference-|v)/, "");
      const isNamed = (wanted) => [name.toLowerCase(), short].some((n) => n === wanted || n.startsWith(`${wanted}.`));
      if (conditions.length && conditions.every(([hold, bound]) => hold(compare(own, bound)))) return true;
      return named.some(isNamed) || !parts.length;
    };
  };

  const statusOf = (cell) => {
    if (state.probe && cell.probe !== state.probe) return null;
    if (!state.check) return cell.status;
    const check = data.outcomes[cell.outcome].find(([name]) => name === state.check);
    return check ? check[1] : null;
  };
  // How the checks that are looked at came out: "13 ✓ 1 –"; nothing for a single one.
  const tallies = new Map();
  const tally = (cells) => {
    const key = cells.map((cell) => cell.outcome).join();
    if (!tallies.has(key)) {
      const words = cells.flatMap((cell) => data.outcomes[cell.outcome].map(([, word]) => word));
      const counts = data.statuses.map(({ word, sign }) => [words.filter((one) => one === word).length, sign]);
      tallies.set(key, words.length < 2 ? "" : counts.filter(([n]) => n).map((pair) => pair.join(" ")).join(" "));
    }
    return state.check ? "" : tallies.get(key);
  };
  const describe = (cell) => {
    cell.words ??= `${cell.id}\n${cell.flow_run}\n${cell.run}${cell.flaky ? "\nflaky" : ""}\n${cell.source ?? ""}`.toLowerCase();
    return cell.words;
  };
  const show = (square, wanted) => {
    const found = square.cells.map((cell) => [cell, statusOf(cell)]).filter(([, status]) => status);
    const status = found.length ? worst(found.map(([, word]) => word)) : "not-run";
    const on = wanted(status, found.map(([cell]) => cell));
    const flaky = found.some(([cell]) => cell.flaky);
    const sources = ["reused", "inferred"].map((mark) => {
      const count = found.filter(([cell]) => cell.mark === mark).length;
      return count ? ` ${count < found.length ? "partly " : ""}${mark}` : "";
    }).join("");
    const counts = tally(found.map(([cell]) => cell));
    const words = `${statuses.get(status).sign} ${status}${flaky ? " flaky" : ""}${sources}${counts && ` (${counts})`}`;
    const look = [status, on ? "" : "off", sources === " inferred" ? "inferred" : ""].filter(Boolean).join(" ");
    if (square.seen !== words) square.at.textContent = square.seen = words;
    if (square.at.className !== look) square.at.className = look;
    square.on = on;
    return on;
  };
  const apply = () => {
    const text = state.text.trim().toLowerCase();
    const matches = (cell) => !text || describe(cell).includes(text) || outcomeText[cell.outcome].includes(text);
    const wanted = (status, cells) =>
      (!state.status.length || state.status.includes(status)) && (!text || cells.some(matches));
    const narrowed = Boolean(state.status.length || text);
    const isClient = inRange(state.client);
    const isService = inRange(state.service);
    let shown = 0;
    let all = 0;
    const rules = [];
    tables.forEach((table, g) => {
      const grid = data.grids[g];
      table.closest("section").hidden = Boolean(state.grid) && grid.title !== state.grid;
      const columns = grid.columns.map((column) => grid.axes[1] === "writer" || isService(column.service));
      const used = columns.map(() => false);
      grid.clients.forEach((client, r) => {
        let inRow = false;
        const own = isClient(client);
        squares[g][r].forEach((square, c) => {
          all += 1;
          const on = show(square, wanted) && own && columns[c] && (!state.grid || grid.title === state.grid);
          if (on) shown += 1;
          inRow ||= on;
          used[c] ||= on;
        });
        squares[g][r][0].at.parentNode.hidden = !own || (narrowed && !inRow);
      });
      columns.forEach((is, c) => {
        if (!is || (narrowed && !used[c])) rules.push(`table[data-grid="${g}"] tr > :nth-child(${c + 2}) { display: none }`);
        squares[g].forEach((row) => { row[c].hidden = !is || (narrowed && !used[c]); });
      });
    });
    hiding.textContent = rules.join("\n");
    find("#shown").textContent = shown === all ? `${all} squares` : `${shown} of ${all} squares`;
    for (const button of findAll("[data-status]")) {
      button.setAttribute("aria-pressed", String(state.status.includes(button.dataset.status)));
    }
    for (const key of fields) {
      const input = form.elements[key];
      if (input.value !== state[key]) input.value = state[key];
    }
    rove();
  };
  const hiding = document.head.appendChild(document.createElement("style"));

  // Building: text is only ever set as text.
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };
  const mark = (word) => make("span", { class: `mark ${word}` }, `${statuses.get(word).sign} ${word}`);
  const copy = async (text, button) => {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = panel.appendChild(make("textarea", {}));
      area.value = text;
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  const copyButton = (label, text) =>
    make("button", { type: "button", onclick: (event) => copy(text(), event.currentTarget) }, label);
  const kinds = { flow: "client output: the flow", readback: "client output: reading back", reread: "client output: reading earlier runs again", service: "service log", rows: "rows in the database", migration: "migration output" };
  const evidenceOf = (id) => {
    evidence ??= JSON.parse(find("#evidence").textContent);
    return (evidence[id] ?? []).map(({ kind, path, text }) => {
      const title = [`${kinds[kind] ?? kind} `, make("small", {}, path)];
      if (text === null) return make("p", { class: "facts" }, ...title, " (not in this page: see the results folder)");
      return make("details", { open: kind === "flow" }, make("summary", {}, ...title), make("pre", { tabindex: "0" }, text || "(empty)"));
    });
  };
  const checksTable = (cell) => {
    const told = new Map();
    const rows = data.outcomes[cell.outcome].map(([name, status, reason]) => {
      const first = told.get(reason);
      if (reason && first === undefined) told.set(reason, name);
      const words = first === undefined ? reason : `as ${first}`;
      return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, mark(status)), make("td", {}, words));
    });
    const head = make("tr", {}, ...["Check", "Status", "Reason"].map((word) => make("th", { scope: "col" }, word)));
    return make("table", { class: "checks" }, make("thead", {}, head), make("tbody", {}, ...rows));
  };
  const cellArticle = (cell) => {
    const facts = [cell.source ?? `${cell.seconds.toFixed(1)} s`, `from run ${cell.run}`];
    if (cell.flow_run) facts.unshift(cell.flow_run);
    for (const one of cell.earlier ?? []) facts.push(`${one.status} in run ${one.run} at ${one.at}`);
    return make("article", { id: `cell-${cell.id}`, class: cell.id === state.cell ? "linked" : "" },
      make("h3", {}, mark(cell.status), `probe ${cell.probe}${cell.flaky ? " · flaky" : ""}${cell.mark ? ` · ${cell.mark}` : ""}`),
      make("p", { class: "facts" }, facts.join(" · ")),
      checksTable(cell),
      make("p", { class: "facts" }, "Run just this cell again:"),
      make("div", { class: "rerun" }, make("code", {}, cell.rerun), copyButton("Copy", () => cell.rerun),
        copyButton("Copy link", () => { const old = state.cell; write({ ...state, cell: cell.id }); const link = location.href; write({ ...state, cell: old }); return link; })),
      ...evidenceOf(cell.id));
  };
  const openPanel = (title, ...content) => {
    find("#panel-title").textContent = title;
    body.replaceChildren(...content);
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
    find("#panel-title").focus();
  };
  const columnOf = (cell) => data.grids[cell.grid].columns[cell.column];
  const openCell = (cell) => {
    const grid = data.grids[cell.grid];
    const column = columnOf(cell);
    const [row, other] = grid.axes;
    const place = `${row} ${grid.clients[cell.row]} × ${other === "writer" ? "writer " : ""}${column.service}`;
    const inside = squares[cell.grid][cell.row][cell.column].cells;
    openPanel(place, make("p", { class: "facts" }, `${grid.title}${column.stage ? ` · stage ${column.stage}` : ""}`),
      ...inside.map(cellArticle));
    if (inside.length > 1) find(".linked", body)?.scrollIntoView({ block: "center" });
  };
  const openStage = (name) => {
    const stage = data.stages.find((one) => one.name === name);
    if (!stage) return;
    const inside = data.cells.filter((cell) => cell.run === stage.run && columnOf(cell).stage === stage.stage
      && data.grids[cell.grid].walk === stage.walk);
    const checks = [...new Set(inside.flatMap((cell) => data.outcomes[cell.outcome].map(([check]) => check)))];
    const head = make("tr", {}, ...["Client", ...checks].map((word) => make("th", { scope: "col" }, word)));
    const rows = inside.map((cell) => {
      const grid = data.grids[cell.grid];
      const link = make("a", { href: `#cell=${encodeURIComponent(cell.id)}` }, grid.clients[cell.row]);
      const found = new Map(data.outcomes[cell.outcome].map(([check, status]) => [check, status]));
      const marks = checks.map((check) => make("td", {}, ...(found.has(check) ? [mark(found.get(check))] : [])));
      return make("tr", {}, make("th", { scope: "row" }, link, ` ${cell.probe}, ${grid.title}`), ...marks);
    });
    const lists = { lost: "Lost", problems: "Problems", known: "Fails as declared", migrations: "Migrations applied", rollback_evidence: "Rolling back to" };
    const said = Object.entries(lists).filter(([key]) => stage[key].length).flatMap(([key, title]) => [
      make("h3", {}, title), make("ul", {}, ...stage[key].map((line) => make("li", {}, line)))]);
    openPanel(`stage ${stage.stage} ${stage.service}`, make("h3", {}, mark(stage.status), "client × check"),
      make("div", { class: "scroll" }, make("table", { class: "checks stage" }, make("thead", {}, head), make("tbody", {}, ...rows))),
      ...said, ...evidenceOf(name));
  };

  // Moving in a grid: one square of it is in the tab order.
  let current = null;
  const visible = (square) => !square.hidden && !square.at.parentNode.hidden;
  const rove = () => {
    tables.forEach((table, g) => {
      findAll("td[tabindex]", table).forEach((square) => square.removeAttribute("tabindex"));
      const first = current?.g === g && visible(squares[g][current.r][current.c])
        ? squares[g][current.r][current.c]
        : squares[g].flat().find(visible);
      if (first) first.at.tabIndex = 0;
    });
  };
  const place = (target) => {
    const at = target.closest?.(".squares tbody td");
    if (!at) return null;
    const g = Number(at.closest("table").dataset.grid);
    return { g, r: at.parentNode.sectionRowIndex, c: at.cellIndex - 1 };
  };
  const focusOn = (to) => {
    const old = find("td[tabindex]", tables[to.g]);
    old?.removeAttribute("tabindex");
    current = to;
    const { at } = squares[to.g][to.r][to.c];
    at.tabIndex = 0;
    at.focus();
    at.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const step = ({ g, r, c }, dr, dc) => {
    for (let to = { g, r: r + dr, c: c + dc }; squares[g][to.r]?.[to.c]; to = { g, r: to.r + dr, c: to.c + dc }) {
      if (visible(squares[g][to.r][to.c])) return to;
    }
    return null;
  };
  const far = (from, dr, dc, steps = Infinity) => {
    let to = from;
    for (let next = step(to, dr, dc); next && steps > 0; next = step(to, dr, dc), steps -= 1) to = next;
    return to;
  };
  const moves = {
    ArrowUp: (at) => step(at, -1, 0),
    ArrowDown: (at) => step(at, 1, 0),
    ArrowLeft: (at) => step(at, 0, -1),
    ArrowRight: (at) => step(at, 0, 1),
    PageUp: (at) => far(at, -1, 0, 10),
    PageDown: (at) => far(at, 1, 0, 10),
    Home: (at, all) => far(all ? far(at, -1, 0) : at, 0, -1),
    End: (at, all) => far(all ? far(at, 1, 0) : at, 0, 1),
  };
  const openSquare = ({ g, r, c }) => {
    const { cells } = squares[g][r][c];
    if (!cells.length) return;
    const asked = cells.filter(statusOf);
    const chosen = (asked.length ? asked : cells).reduce((a, b) => (worst([a.status, b.status]) === a.status ? a : b));
    go({ cell: chosen.id, stage: "" }, true);
  };
  document.addEventListener("keydown", (event) => {
    const at = place(event.target);
    if (!at) return;
    if (event.key === "Enter" || event.key === " ") openSquare(at);
    else if (event.key in moves) {
      const to = moves[event.key](at, event.ctrlKey);
      if (to) focusOn(to);
    } else return;
    event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const at = place(event.target);
    if (at) {
      focusOn(at);
      openSquare(at);
    }
    const { status, stage } = event.target.closest("button")?.dataset ?? {};
    if (status) {
      const on = state.status.includes(status);
      go({ status: on ? state.status.filter((word) => word !== status) : [...state.status, status] });
    }
    if (stage) go({ stage, cell: "" }, true);
  });

  const go = (change, push = false) => {
    state = { ...state, ...change };
    write(state, push);
    draw(change);
  };
  const draw = (change) => {
    if ("cell" in change || "stage" in change) {
      const cell = byId.get(state.cell);
      if (cell) openCell(cell);
      else if (state.stage) openStage(state.stage);
      else if (panel.open) panel.close();
    }
    if (Object.keys(change).some((key) => key !== "cell" && key !== "stage")) apply();
  };
  let waiting = 0;
  const typed = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => go(Object.fromEntries(fields.map((key) => [key, form.elements[key].value]))), 120);
  };
  form.addEventListener("input", typed);
  form.addEventListener("change", typed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => go({ ...Object.fromEntries(fields.map((key) => [key, ""])), status: [] }));
  find("#close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  panel.addEventListener("close", () => {
    const cell = byId.get(state.cell);
    if (state.cell || state.stage) go({ cell: "", stage: "" });
    if (cell) focusOn({ g: cell.grid, r: cell.row, c: cell.column });
  });
  addEventListener("hashchange", () => { state = read(); draw(state); });
  addEventListener("popstate", () => { state = read(); draw(state); });

  const button = find("#theme");
  const dark = () => {
    const chosen = root.style.colorScheme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const setTheme = (theme) => {
    root.style.colorScheme = theme;
    button.textContent = dark() ? "Light" : "Dark";
  };
  button.addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    setTheme(theme);
    try { localStorage.setItem("theme", theme); } catch { /* a page that may not store still toggles */ }
  });
  let stored = "";
  try { stored = localStorage.getItem("theme") ?? ""; } catch { /* as above */ }
  setTheme(stored);

  draw(state);
})();
