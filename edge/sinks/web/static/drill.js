// Starts a fire drill, and shows the last one: each link of the chain with its time, or why it broke.

import { $, act, element, put } from "./dom.js";

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
  const result = error || (drill ? outcome(drill, zoneName) : "No drill yet.");
  if ($("drill-result").textContent !== result) put("drill-result", result);  // a screen reader says it once
  $("drill-result").className = error || drill?.passed === false ? "bad" : "";
  $("drill-steps").replaceChildren(...(drill?.steps ?? []).map(row));
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

function row({ name, after_ms, problem }) {
  const line = element("tr"), head = element("th", "", NAMES[name] ?? name);
  head.scope = "row";
  const isSlow = name === "seen" || name === "alarm";
  const time = after_ms === null ? "…" : isSlow ? `${(after_ms / 1000).toFixed(1)} s` : `${after_ms.toFixed(0)} ms`;
  line.append(head, element("td", problem ? "bad" : "", problem || time));
  return line;
}

$("drill-start").addEventListener("click", async () => {
  $("drill-start").disabled = true;
  error = (await act("drill", $("drill-zone").value ? { zone: $("drill-zone").value } : {})).error ?? "";
  put("drill-result", error || "A drill is running …");
  if (error) $("drill-start").disabled = false;
});
