// Makes a part of the page look like another one in place: focus, selection, scrolling and what is open stay.

/**
 * Make the children of one element those of another. Elements with an id are the same wherever they stand;
 * others where their names agree in their order. What has `data-keep` is left alone.
 */
export function morph(here, wanted) {
  const focused = document.activeElement;
  children(here, wanted);
  if (focused && focused !== document.activeElement && focused.isConnected && here.contains(focused)) {
    focused.focus({ preventScroll: true });
  }
}

function children(here, wanted) {
  const ids = new Set(Array.from(wanted.children, (each) => each.id).filter(Boolean));
  const known = new Map();
  for (const child of [...here.children]) {
    if (!child.id) continue;
    if (ids.has(child.id)) known.set(child.id, child);
    else if (!kept(child)) child.remove();
  }
  let at = here.firstChild;
  for (const next of [...wanted.childNodes]) {
    while (at && kept(at) && !(at.id ? at.id === next.id : kept(next) && alike(at, next))) at = at.nextSibling;
    const found = next.id ? known.get(next.id) : at && alike(at, next) ? at : null;
    if (!found) {
      here.insertBefore(next, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else if (here.moveBefore) here.moveBefore(found, at);
    else here.insertBefore(found, at);
    if (found.nodeName === next.nodeName) node(found, next);
    else found.replaceWith(next);
  }
  while (at) {
    const over = at;
    at = at.nextSibling;
    if (!kept(over)) over.remove();
  }
}

function node(here, wanted) {
  if (here.nodeType !== Node.ELEMENT_NODE) {
    if (here.data !== wanted.data) here.data = wanted.data;
  } else if (!kept(here) && !here.isEqualNode(wanted)) {
    attributes(here, wanted);
    children(here, wanted);
  }
}

function attributes(here, wanted) {
  for (const { name, value } of wanted.attributes) {
    if (!mine(here, name) && here.getAttribute(name) !== value) here.setAttribute(name, value);
  }
  for (const { name } of [...here.attributes]) {
    if (!mine(here, name) && !wanted.hasAttribute(name)) here.removeAttribute(name);
  }
}

/** Whether it is for the one who looks at the page to say. */
function mine(element, name) {
  return (name === "open" && (element.nodeName === "DETAILS" || element.nodeName === "DIALOG"))
    || name === "aria-busy" || (name === "disabled" && element.getAttribute("aria-busy") === "true");
}

function kept(child) {
  return child.nodeType === Node.ELEMENT_NODE && child.hasAttribute("data-keep");
}

function alike(here, wanted) {
  return here.nodeName === wanted.nodeName && !here.id;
}
