// Starts a fire drill, and shows the last one: each link of the chain with its time, or why it broke.

import { $, act, put, row } from "./dom.js";

let error = "";  // why the last click was refused, until another drill begins
let started = "";  // when the drill that is shown began

const NAMES = { seen: "Seen by the model", alarm: "Alarm raised", clips: "Pictures saved", page: "This page" };

export function show(state, zoneName) {
  const zones = Object.keys(state.zones);
  const select = $("drill-zone");
  if ([...select.options].map(({ value }) => value).join("\n") !== zones.join("\n")) {
    select.replaceChildren(...zones.map((name) => new Option(zoneName(name) || "Whole frame", name)));
  }
  $("drill-zones").hidden = zones.length < 2;
  const { drill } = state;
  if ((drill?.started ?? "") !== started) [started, error] = [drill?.started ?? "", ""];
  $("drill-start").disabled = Boolean(drill?.running);
  const hasFailed = drill?.passed === false;
  put("drill-result", error || (drill ? outcome(drill, zoneName) : "No drill yet."), error || hasFailed ? "bad" : "");
  const summary = !drill ? "none yet" : drill.running ? "running" : drill.passed ? "passed" : drill.problem ? "stopped" : "failed";
  put("drill-note", summary, hasFailed ? "bad" : "note");
  $("drill-steps").replaceChildren(...(drill?.steps ?? []).map(step));
}

function outcome({ running, zone, started, passed, problem, last_passed }, zoneName) {
  const place = zoneName(zone) ? ` in ${zoneName(zone)}` : "";
  const time = (text) => new Date(text).toLocaleString();
  if (running) return `A drill${place} is running …`;
  if (passed) return `Passed${place}, ${time(started)}.`;
  const last = last_passed ? `Last passed ${time(last_passed)}.` : "No drill was passed yet.";
  const reason = problem ? `: ${problem}` : "";
  return `${problem ? "Stopped" : "Failed"}${place}, ${time(started)}${reason}. ${last}`;
}

function step({ name, after_ms, problem }) {
  const isSlow = name === "seen" || name === "alarm";
  const time = after_ms === null ? "…" : isSlow ? `${(after_ms / 1000).toFixed(1)} s` : `${after_ms.toFixed(0)} ms`;
  return row(NAMES[name] ?? name, [problem || time], [problem]);
}

$("drill-start").addEventListener("click", async () => {
  $("drill-start").disabled = true;
  error = (await act("drill", $("drill-zone").value ? { zone: $("drill-zone").value } : {})).error ?? "";
  put("drill-result", error || "A drill is running …");
  if (error) $("drill-start").disabled = false;
});
