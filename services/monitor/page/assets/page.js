// Keeps the page live: blocks of HTML that changed and new points of the charts come by server-sent events.
"use strict";

const SILENT_MS = 5000; // without an event for so long the page says that it is not live
const AGAIN_MS = 5000; // after which a stream that was refused is asked for again
const WINDOW_S = 15 * 60;
const EDGE_S = 50; // from the left edge, where a time would lie upon the other axis' zero
const CHART_HEIGHT = 132;

const liveness = document.getElementById("liveness");
const charts = new Map(); // by panel: {place, plot, columns}
let stream = null;
let heardAt = 0; // of the page's own clock, which no change of the time of day moves
let shownAt = ""; // the time of what is shown, as the server has it
let refused = false;

function open() {
  close();
  stream = new EventSource(document.body.dataset.live);
  stream.addEventListener("view", (event) => show(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) askAgain();
  });
}

function close() {
  if (stream) stream.close();
  stream = null;
}

async function askAgain() {
  // An EventSource does not say why it was refused.
  const answer = await fetch(document.body.dataset.live, { method: "HEAD" }).catch(() => null);
  refused = answer !== null && answer.status === 503;
  sayWhetherLive();
  setTimeout(() => document.hidden || open(), AGAIN_MS);
}

function show(view) {
  heardAt = performance.now();
  shownAt = new Date(view.time * 1000).toISOString().slice(11, 19);
  refused = false;
  document.title = `${view.title} · Strongroom`;
  for (const [name, html] of Object.entries(view.blocks)) replace(name, html);
  for (const [panel, columns] of Object.entries(view.charts)) extend(panel, columns, view.whole);
  sayWhetherLive();
}

function replace(name, html) {
  const block = document.querySelector(`[data-block="${name}"]`);
  if (!block) return;
  const focused = block.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  block.innerHTML = html;
  if (focused) block.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function sayWhetherLive() {
  const live = heardAt > 0 && performance.now() - heardAt < SILENT_MS;
  const words = liveness.dataset;
  const said = live || !shownAt ? null : (refused ? words.full : words.notLive).replace("{time}", shownAt);
  liveness.lastElementChild.textContent = said ?? (live ? `${words.live} · ${shownAt} UTC` : words.connecting);
  liveness.classList.toggle("live", live);
  liveness.classList.toggle("not-live", said !== null);
  document.body.classList.toggle("not-live-page", said !== null);
  if (said) document.title = document.title.replace(/^(✕ )?/, "✕ ");
}

// ---- charts

function extend(panel, columns, whole) {
  const chart = charts.get(panel);
  if (!chart) return;
  chart.columns = whole || !chart.columns ? columns : chart.columns.map((column, at) => column.concat(columns[at]));
  const times = chart.columns[0];
  const first = times.findIndex((time) => time >= times[times.length - 1] - WINDOW_S);
  chart.columns = chart.columns.map((column) => column.slice(first));
  if (chart.plot) chart.plot.setData(chart.columns);
  else draw(chart);
}

function draw(chart) {
  chart.plot?.destroy();
  chart.place.querySelector("svg")?.remove();
  chart.plot = new uPlot(options(chart.place), chart.columns, chart.place);
}

function options(place) {
  const colour = (name) => getComputedStyle(place).getPropertyValue(`--${name}`).trim();
  const { unit, top } = place.dataset;
  const labels = JSON.parse(place.dataset.labels);
  const marks = place.dataset.marks.split(" ").filter(Boolean).map(Number);
  const axis = { stroke: colour("soft"), font: `11px ${getComputedStyle(place).fontFamily}`, ticks: { show: false } };
  const grid = { stroke: colour("rule"), width: 1 };
  return {
    width: place.clientWidth,
    height: CHART_HEIGHT,
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "time" }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
    scales: {
      x: { range: (plot, low, high) => [high - WINDOW_S, high] },
      y: { range: (plot, low, high) => [0, Number(top) * 1.04 || ceiling(high, unit, marks)] },
    },
    axes: [
      { ...axis, grid: { show: false }, size: 24, gap: 6, space: 70, incrs: [60, 120, 300, 900], values: (plot, at) => at.map((time) => (time - plot.scales.x.min < EDGE_S ? "" : minute(time))) },
      { ...axis, grid, size: 52, gap: 4, space: 26, values: (plot, at) => at.map((value) => shown(value, unit)) },
    ],
    series: [{}, ...labels.map((label, at) => ({ label, stroke: colour(`line-${at + 1}`), width: 1.5, dash: [[], [6, 3], [2, 2]][at], points: { show: false } }))],
    hooks: {
      draw: [(plot) => marks.reduce((last, mark) => across(plot, mark, unit, colour("warning"), last), Infinity)],
      setCursor: [(plot) => read(plot, place, labels, unit)],
    },
  };
}

function ceiling(high, unit, marks) {
  if (high > 0) return high * 1.1;
  // Of nothing there is no scale; the thresholds give one, but a queue of none is not shown beside one of hundreds.
  return marks.length && (unit || high === null) ? Math.max(...marks) * 1.2 : 1;
}

function across(plot, mark, unit, colour, last) {
  // A threshold, where the scale reaches it; named where its name does not lie upon the one before.
  if (mark > plot.scales.y.max) return last;
  const { ctx, bbox } = plot;
  const y = plot.valToPos(mark, "y", true);
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.globalAlpha = 0.7;
  ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.fillStyle = colour;
  ctx.textAlign = "right";
  const above = y - bbox.top > 14 * devicePixelRatio;
  ctx.textBaseline = above ? "bottom" : "top";
  ctx.font = `${10 * devicePixelRatio}px ${getComputedStyle(plot.root).fontFamily}`;
  const named = last - y > 12 * devicePixelRatio;
  if (named) ctx.fillText(shown(mark, unit), bbox.left + bbox.width, y + (above ? -2 : 3) * devicePixelRatio);
  ctx.restore();
  return named ? y : last;
}

function read(plot, place, labels, unit) {
  // What the lines say where the pointer is.
  let reading = place.querySelector(".reading");
  const at = plot.cursor.idx;
  const pointed = at !== null && at !== undefined && plot.cursor.left >= 0;
  if (!pointed) return reading?.remove();
  if (!reading) {
    reading = document.createElement("output");
    reading.className = "reading";
    place.append(reading);
  }
  const values = labels.map((label, line) => `${label} ${shown(plot.data[line + 1][at], unit)}`);
  reading.textContent = [new Date(plot.data[0][at] * 1000).toISOString().slice(11, 19), ...values].join(" · ");
}

function minute(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 16);
}

function shown(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "ratio") return `${digits(value * 100)} %`;
  if (unit === "seconds") return value === 0 ? "0" : value < 1 ? `${digits(value * 1000)} ms` : `${digits(value)} s`;
  return unit ? `${digits(value)} ${unit}` : digits(value);
}

function digits(value) {
  return Number(value.toPrecision(3)).toLocaleString("en-US", { maximumFractionDigits: 3 });
}

// ---- start

for (const place of document.querySelectorAll("[data-chart]")) charts.set(place.dataset.chart, { place, plot: null, columns: null });

new ResizeObserver(() => {
  for (const { place, plot } of charts.values()) plot?.setSize({ width: place.clientWidth, height: CHART_HEIGHT });
}).observe(document.querySelector("main"));

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts.values()) if (chart.plot) draw(chart);
});

// A browser allows a host six connections: a page that nobody sees must not hold one.
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));

setInterval(() => document.hidden || sayWhetherLive(), 1000);
sayWhetherLive();
open();
