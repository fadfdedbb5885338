// Draws zones and ignored areas over the live picture and saves them into the run's configuration file.
// Coordinates are fractions of the frame. By pointer: tap corners, drag them. By keyboard: each corner is a button.

import { $, act, button, element, polygon, put } from "./dom.js";

const STEP = 0.01, LARGE_STEP = 0.05, NEXT_CORNER = 0.1;
const MIN_CORNERS = 3;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const DRAWING = "Tap the corners on the picture; then tap the first one again, or Done.";
const CHOSEN = "Drag the corners.";
const KEYS = " Keyboard: arrow keys move a corner (Shift: further), Enter adds one, Delete removes it, Escape cancels.";
const IDLE = "Choose an area, or draw a new one. Nothing is changed before you save.";
const CONFLICT = "The areas have been changed elsewhere. Yours are still here: Save replaces theirs, Cancel drops yours.";

let areas = null;  // while editing: [{ name, corners }]; the name of an ignored area is null
let revision = "";  // of the areas that are replaced
let current = null;  // the area whose corners are shown
let before = [];  // its corners when it was chosen
let drawing = false;  // whether the current area is still open

// Notice that the run uses other areas now.
export function areasChanged(newRevision) {
  if (areas && newRevision !== revision) showError(CONFLICT);
}

// Opening, saving, closing.

async function open() {
  const answer = await act("edit-areas");
  if (answer.error) return showError(answer.error);
  revision = answer.revision;
  areas = [
    ...answer.zones.map(({ name, polygon }) => ({ name, corners: polygon })),
    ...answer.ignored.map((polygon) => ({ name: null, corners: polygon })),
  ];
  put("areas-saved", "");
  choose(null);
  $("new-zone").focus();
}

async function save() {
  if (drawing && !finish()) return;
  const zones = areas.filter(({ name }) => name !== null).map(({ name, corners }) => ({ name, polygon: corners }));
  const ignored = areas.filter(({ name }) => name === null).map(({ corners }) => corners);
  $("save-areas").disabled = true;
  const answer = await act("save-areas", { revision, zones, ignored });
  if (answer.error) {
    const now = await act("edit-areas");
    const conflict = !now.error && now.revision !== revision;
    if (conflict) revision = now.revision;  // saving again replaces them knowingly
    showError(conflict ? CONFLICT : answer.error);
  } else {
    close();
    put("areas-saved", "Saved. The run applies the areas now.");
  }
  $("save-areas").disabled = false;
}

function close() {
  areas = null;
  choose(null);
  $("edit-areas").focus();
}

// Changing.

function choose(area) {
  current = area;
  before = area ? area.corners.map((corner) => [...corner]) : [];
  drawing = false;
  showError("");
  show();
}

function start(isZone, byKeyboard) {
  if (drawing && !finish()) return;
  let number = 1;
  while (areas.some(({ name }) => name === `zone ${number}`)) number += 1;
  const area = { name: isZone ? `zone ${number}` : null, corners: byKeyboard ? [[0.5, 0.5]] : [] };
  areas.push(area);
  choose(area);
  drawing = true;
  show();
  if (byKeyboard) handle(0).focus();
  else $("draft").scrollIntoView({ block: "nearest" });
}

// Closes the area that is being drawn. Returns whether it has enough corners.
function finish() {
  if (drawing && current.corners.length < MIN_CORNERS) {
    showError(`An area needs at least ${MIN_CORNERS} corners: add more, or press Escape or Delete to drop it.`);
    return false;
  }
  choose(current);
  if (current.name !== null) $("editor-list").children[areas.indexOf(current)].querySelector("input").select();
  return true;
}

function undo() {
  if (!current) return;
  if (drawing) areas.splice(areas.indexOf(current), 1);
  else current.corners = before;
  choose(null);
  $("new-zone").focus();
}

function remove(area) {
  areas.splice(areas.indexOf(area), 1);
  choose(null);
  $("new-zone").focus();
}

function addCorner(index, corner) {
  current.corners.splice(index, 0, corner.map(clamp));
  show();
  handle(index).focus({ preventScroll: true });
}

function removeCorner(index) {
  if (!drawing && current.corners.length <= MIN_CORNERS) {
    return showError(`An area needs at least ${MIN_CORNERS} corners: delete the whole area in the list.`);
  }
  current.corners.splice(index, 1);
  if (!current.corners.length) return undo();
  show();
  return handle(Math.max(index - 1, 0)).focus();
}

function moveCorner(index, corner) {
  current.corners[index] = corner.map(clamp);
  place(handle(index), index);
  showShapes();
}

function onKey(event, index) {
  const [x, y] = current.corners[index], move = MOVES[event.key];
  if (move) {
    const step = event.shiftKey ? LARGE_STEP : STEP;
    moveCorner(index, [x + step * move[0], y + step * move[1]]);
  } else if (event.key === "Enter") {
    const [nextX, nextY] = current.corners[(index + 1) % current.corners.length];
    addCorner(index + 1, drawing ? [x + (x < 0.8 ? 1 : -1) * NEXT_CORNER, y] : [(x + nextX) / 2, (y + nextY) / 2]);
  } else if (event.key === "Delete" || event.key === "Backspace") removeCorner(index);
  else return;
  event.preventDefault();
}

// Showing.

const clamp = (value) => Math.round(1000 * Math.min(1, Math.max(0, value))) / 1000;
const handle = (index) => $("corners").children[index];
const title = (area) => area.name ?? `ignored area ${areas.filter(({ name }) => name === null).indexOf(area) + 1}`;
const position = ({ clientX, clientY }) => {
  const { left, top, width, height } = $("draft").getBoundingClientRect();
  return [(clientX - left) / width, (clientY - top) / height];
};

const showError = (text) => put("editor-error", text);

function show() {
  const editing = areas !== null;
  for (const id of ["draft", "editor"]) $(id).hidden = !editing;
  $("zones-section").hidden = editing;
  $("frame").classList.toggle("editing", editing);
  $("draft").classList.toggle("drawing", drawing);
  $("finish-area").hidden = !drawing;
  put("editor-hint", current ? (drawing ? DRAWING : CHOSEN) + KEYS : IDLE);
  showShapes();
  $("corners").replaceChildren(...(current?.corners ?? []).map((_, index) => cornerButton(index)));
  $("editor-list").replaceChildren(...(areas ?? []).map(listItem));
}

// Each outline is drawn twice, white on black, to be seen on any picture.
function showShapes() {
  const shape = (area, kind) => {
    const name = `${kind} ${area.name === null ? "ignored" : ""} ${area === current ? "current" : ""}`;
    const drawn = polygon(area.corners, name, drawing && area === current ? "polyline" : "polygon");
    if (!drawing) drawn.addEventListener("click", () => choose(area));
    return drawn;
  };
  $("shapes").replaceChildren(...(areas ?? []).flatMap((area) => [shape(area, "halo"), shape(area, "line")]));
}

function cornerButton(index) {
  const made = button("");
  let dragged = false;
  made.addEventListener("pointerdown", (event) => {
    dragged = false;
    made.setPointerCapture(event.pointerId);
  });
  made.addEventListener("pointermove", (event) => {
    if (!made.hasPointerCapture(event.pointerId) || !(event.movementX || event.movementY || dragged)) return;
    dragged = true;
    moveCorner(index, position(event));
  });
  made.addEventListener("click", (event) => {
    event.stopPropagation();  // a tap on the picture adds a corner
    if (drawing && index === 0 && !dragged) finish();
  });
  made.addEventListener("keydown", (event) => onKey(event, index));
  place(made, index);
  return made;
}

function place(corner, index) {
  const [x, y] = current.corners[index];
  corner.style.left = `${100 * x}%`;
  corner.style.top = `${100 * y}%`;
  const at = `${Math.round(100 * x)} % across, ${Math.round(100 * y)} % down`;
  corner.setAttribute("aria-label", `corner ${index + 1} of ${title(current)}, ${at}`);
}

function listItem(area) {
  const item = element("li");
  const labelled = (text, action) => button(text, action, `${text}: ${title(area)}`);
  const corners = labelled("Corners", () => {
    if (drawing && area !== current && !finish()) return;
    if (area !== current) choose(area);
    handle(0)?.focus();
  });
  corners.setAttribute("aria-pressed", String(area === current));
  if (area.name === null) item.append(element("span", "", title(area)));
  else {
    const field = Object.assign(element("input"), { value: area.name, maxLength: 100 });
    field.setAttribute("aria-label", "name of the zone");
    field.addEventListener("input", () => {
      area.name = field.value;
      if (area === current) area.corners.forEach((_, index) => place(handle(index), index));
    });
    item.append(field);
  }
  item.append(corners, labelled("Delete", () => remove(area)));
  return item;
}

$("edit-areas").addEventListener("click", open);
$("new-zone").addEventListener("click", (event) => start(true, event.detail === 0));
$("new-ignored").addEventListener("click", (event) => start(false, event.detail === 0));
$("finish-area").addEventListener("click", finish);
$("save-areas").addEventListener("click", save);
$("cancel-areas").addEventListener("click", close);
$("draft").addEventListener("click", (event) => { if (drawing) addCorner(current.corners.length, position(event)); });
for (const id of ["draft", "editor"]) {
  $(id).addEventListener("keydown", (event) => { if (event.key === "Escape") undo(); });
}
