// Arm, snooze and acknowledge: the state of the alarm, and buttons for it.

import { $, CLOCK, act, canAct, put } from "./dom.js";

const HALF_DAY_S = 43200;

let state = null;
let hasPassword = null;  // null until it is known

// Until when everything is silenced, such as "snoozed until 18:05"; empty while people are notified.
export function silenceText({ arming }) {
  if (!arming) return "";
  if (!arming.armed) return `disarmed until ${clock(arming.disarmed_until, arming.disarmed_left_s)}`;
  return arming.snoozed_until ? `snoozed until ${clock(arming.snoozed_until, arming.snoozed_left_s)}` : "";
}

function clock(time, left_s) {
  return new Date(time).toLocaleString([], left_s < HALF_DAY_S ? CLOCK : { weekday: "short", ...CLOCK });
}

const isAcknowledgeable = ({ alarm, silence }) => alarm && silence !== "acknowledged";
const length = (minutes) => (minutes % 60 ? `${minutes} min` : `${minutes / 60} h`);

export function show(newState) {
  state = newState;
  const { arming, zones } = state;
  if (!arming) return;
  if (hasPassword === null) askForPassword();
  const text = silenceText(state) || "armed", change = arming.next_change;
  const schedule = change ? `, schedule changes ${new Date(change).toLocaleString([], { weekday: "short", ...CLOCK })}` : "";
  put("armed", `${text[0].toUpperCase()}${text.slice(1)}${schedule}`);
  put("arm", arming.armed ? `Disarm ${length(60 * arming.disarm_h)}` : "Arm");
  put("snooze", arming.snoozed_until ? "End snooze" : `Snooze ${length(arming.snooze_min)}`);
  $("acknowledge").hidden = !Object.values(zones).some(isAcknowledgeable);
}

async function askForPassword() {
  hasPassword = await canAct();
  if (hasPassword === null) return;  // asked again with the next state
  for (const name of ["arm", "snooze", "acknowledge"]) $(name).disabled = !hasPassword;
  if (!hasPassword) put("arming-note", "These buttons need a password: set [web] password_file.");
}

async function request(action, values) {
  put("arming-note", "");
  const { error } = await act(action, values);
  if (error) put("arming-note", error);
}

$("arm").addEventListener("click", () => request(state.arming.armed ? "disarm" : "arm"));
$("snooze").addEventListener("click", () => request("snooze", state.arming.snoozed_until ? { minutes: 0 } : {}));
$("acknowledge").addEventListener("click", () => request("acknowledge"));
