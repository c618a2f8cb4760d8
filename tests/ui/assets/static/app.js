// The page of the tests: it shows what the stand-in backend answers, at the addresses of the real one.
"use strict";

const root = document.getElementById("root");
const api = (window.METAFLOW_SERVICE || "/").replace(/\/$/, "");
const [flow, run, step, task] = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);

function show(tag, text, parent = root) {
  const element = document.createElement(tag);
  element.textContent = text;
  parent.appendChild(element);
  return element;
}

async function data(path) {
  const answer = await fetch(api + path);
  if (!answer.ok) {
    throw new Error(`${path} answered ${answer.status}`);
  }
  return (await answer.json()).data;
}

function word(status) {
  return status.charAt(0).toUpperCase() + status.slice(1);
}

async function list() {
  show("h1", "Runs");
  const table = show("table", "");
  for (const one of await data(`/runs${location.search}`)) {
    const row = show("tr", "", table);
    const link = show("a", `${one.flow_id} / ${one.run}`, show("td", "", row));
    link.href = `/${one.flow_id}/${one.run}`;
    show("td", word(one.status), row);
    show("td", one.tags.join(", "), row);
  }
}

async function header(path) {
  show("h1", `${flow} / ${run}`);
  show("p", word((await data(path)).status));
}

async function timeline(path) {
  const counts = new Map();
  for (const one of await data(`${path}/tasks?_limit=1000`)) {
    if (!one.step_name.startsWith("_")) {
      counts.set(one.step_name, (counts.get(one.step_name) || 0) + 1);
    }
  }
  for (const [name, count] of counts) {
    show("div", name);
    show("div", `(${count})`);
  }
}

async function dag(path) {
  for (const name of (await data(`${path}/dag`)).graph_structure) {
    show("div", name);
  }
}

async function details(path) {
  const resource = `${path}/steps/${step}/tasks/${task}`;
  show("h2", "stdout");
  for (const line of await data(`${resource}/logs/out`)) {
    show("pre", line.line);
  }
  for (const card of await data(`${resource}/cards`)) {
    show("h2", `Card: ${card.type}`);
    show("iframe", "").src = `${api}${resource}/cards/${card.hash}`;
  }
}

async function main() {
  if (!run) {
    return list();
  }
  const path = `/flows/${flow}/runs/${run}`;
  await header(path);
  if (step === "view") {
    return task === "dag" ? dag(path) : timeline(path);
  }
  return step ? details(path) : timeline(path);
}

main().catch((error) => show("p", String(error)));
