// Every word of the page that is not the server's own: what a translation has to replace.
//
// A word with something in it is a function of it, so that a language can order and inflect as it needs.

export const LANGUAGE = "en";

const plural = (count, one, many) => `${count.toLocaleString(LANGUAGE)} ${count === 1 ? one : many}`;

export const words = {
  name: "LungXAI",
  notice: "Research use only, not a diagnosis",
  skip: "Skip to the content",
  loading: "Loading …",
  none: "none",
  done: "done",
  given: "given",
  keep: "Keep it",

  // Logging in
  logInTitle: "Log in",
  logIn: "Log in",
  logOut: "Log out",
  token: "Token of the server",
  tokenHelp: "It lies in the file “token” of the server's data folder, which the server names when it starts.",
  tokenKept: "The token stays in this tab and is forgotten when you log out or close it.",
  showToken: "Show",
  paste: "Paste",
  pasteRefused: "The browser does not let this page read the clipboard. Paste with Ctrl+V.",
  wrongToken: "The server does not know this token. Copy it again, whole and without spaces.",
  loggedOut: "Logged out.",
  loggedOutByServer: "The server asks for its token again. What you were writing is kept.",
  logOutTitle: "Log out with a note that is not saved?",
  logOutText: ["A note for the board is written and not saved. It is thrown away when you log out."],
  logOutSure: "Throw it away and log out",

  // The server
  noAnswer: "The server does not answer.",
  tooSlow: "The server takes too long to answer.",
  noAnswerRemedy: "Look whether it runs. This page tries again by itself.",
  strange: "The server's answer cannot be read.",
  loadingModels: "The models are being loaded.",
  loadingRemedy: "Cases can be read meanwhile.",
  server: (version, device) =>
    `Server ${version}${device ? `, on ${device}` : ""}. Everything stays on the server's machine.`,

  // The cases
  cases: "Cases",
  columns: {
    case: "Case",
    made: "Made",
    radiology: "CT",
    pathology: "H&E slide",
    clinical: "Clinical",
    fusion: "Fused",
  },
  synthetic: "synthetic",
  unsavedNote: "note not saved",
  filter: "Filter",
  pages: "Pages of cases",
  newer: "Newer",
  older: "Older",
  shown: (first, last, found, all) => {
    if (!all) return "No cases";
    if (!found) return `None of ${plural(all, "case", "cases")} fits the filter`;
    const those =
      found === all
        ? plural(all, "case", "cases")
        : `${found.toLocaleString(LANGUAGE)} of ${plural(all, "case", "cases")}`;
    return last - first + 1 === found ? `${those}, newest first` : `${first} to ${last} of ${those}, newest first`;
  },
  noCases: "There are no cases yet.",
  noCasesHelp:
    "Send one from 3D Slicer, from QuPath, or with: lungxai analyze --server ADDRESS --ct FOLDER --slide FILE",

  // States
  percent: (number) => `${number}\u00a0%`,
  running: (number) => `running, ${number}\u00a0%`,
  waiting: "waiting",
  failed: "failed",
  failedAgain: "failed, earlier result kept",
  stopped: "stopped",

  // One case
  caseTitle: (id) => `Case ${id}`,
  backToCases: "All cases",
  made: "Made",
  syntheticCase: "Synthetic: drawn or composed by a program, not a patient",

  // Jobs
  jobs: "Jobs",
  noJobs: "Nothing was analysed yet.",
  noneRunning: "No job is running.",
  earlierJobs: "Earlier jobs",
  kinds: { radiology: "CT analysis", pathology: "Slide analysis" },
  jobStates: { queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "stopped" },
  said: (kind, what) => `${kind}: ${what}.`,
  progressOf: (kind) => `Progress of the ${kind}`,
  queued: (ahead) => (ahead ? `${plural(ahead, "job goes", "jobs go")} first` : "next"),
  timeLeft: (seconds) =>
    seconds < 90 ? `about ${Math.round(seconds)} s left` : `about ${Math.round(seconds / 60)} min left`,
  cancel: "Cancel",
  cancelJob: (kind) => `Cancel the ${kind}`,
  cancelTitle: (kind) => `Stop the ${kind}?`,
  cancelText: [
    "What it has computed so far is thrown away. Results that the case has from before stay.",
    "It can be started again where it came from: 3D Slicer, QuPath or the command line.",
  ],
  cancelSure: "Stop it",
  cancelKeep: "Let it run",

  // Results
  parts: { fusion: "All modalities together", radiology: "CT", pathology: "H&E slide", clinical: "Clinical fields" },
  notAssessed: "not assessed",
  notKnown: "not known",
  under: (number) => `under ${number}\u00a0%`,
  over: (number) => `over ${number}\u00a0%`,
  fuse: "Fuse",
  fuseAgain: "Fuse again",
  fused: "The modalities were fused.",
  notFused: "The modalities of this case are not fused.",
  fusedBars: "Probability of each class",
  slideBars: "Probability of each class, whole slide",
  notAssessedBy: (classes, mass) =>
    `Not assessed by any modality: ${classes}. Together they keep ${mass} of the probability, so the bars do not add up to 100 %.`,
  missing: (names) => `Did not take part: ${names}.`,
  noAnswerYet: "No answer:",
  wouldHelp: "What would help:",
  noCt: "No CT was analysed.",
  nodules: (count, malignancy) =>
    count
      ? `${plural(count, "nodule candidate", "nodule candidates")}; highest malignancy ${malignancy}.`
      : "No nodule was marked.",
  noduleTable: "Nodules, a table that scrolls",
  noduleColumns: {
    label: "No.",
    size: "Axes, mm",
    volume: "Volume, mm³",
    density: "Mean HU",
    malignancy: "Malignancy as readers rate it",
    side: "Lung",
    found: "Found by",
  },
  sides: { left: "left", right: "right" },
  noSide: "not stated",
  foundBy: { search: "search", point: "a point", box: "a box", hand: "a reader" },
  noSlide: "No slide was analysed.",
  slide: (id, tiles, mpp) => `Slide ${id}: ${plural(tiles, "tile", "tiles")} with tissue, read at ${mpp} µm per pixel.`,
  otherClasses: "The slide model has classes of its own too: the report names them.",
  noClinical: "No clinical fields were given.",
  clinicalValue: (name, value) => (name === "age_years" ? plural(value, "year", "years") : String(value)),
  heatmaps: (methods) => `Heatmaps in the report: ${methods}.`,
  models: "Models",
  model: (id, weights, device, calibrated) =>
    `${id}, weights ${weights}, ran on ${device}, ${calibrated ? "calibrated" : "not calibrated"}`,

  // The report
  report: "Report",
  reportOf: (id) => `Report of case ${id}`,
  openReport: "Open report",
  downloadPdf: "Download PDF",
  downloadHtml: "Download HTML",
  paper: "Paper",
  papers: { a4: "A4", letter: "Letter" },
  nothingToReport: "Nothing to report yet: analyse a CT or a slide first.",
  making: "The report is being made …",
  downloaded: (name) => `${name} was made.`,
  backToCase: "Back to the case",

  // The board's note
  boardNote: "The board's note",
  note: { decision: "Decision, in one line", text: "Note", author: "Your name or role" },
  noteHelp:
    "Kept with the case and printed in its report. A saved note cannot be changed, only followed by another. Name no patient.",
  saveNote: "Save note",
  unsaved: "Not saved yet. It is kept in this tab until you save it.",
  emptyNote: "The note is empty: write a note, a decision, or both.",
  noteSaved: "The note was saved.",
  history: "History",
  noNotes: "No notes yet.",
  noAuthor: "no name given",
  aboutEarlier: "Written about earlier results of this case",

  // The end of a case
  deleteTitle: "Delete",
  deleteHelp: "Removes the case with its images, results and notes from the server.",
  deleteCase: "Delete this case …",
  deleteQuestion: (id) => `Delete case ${id}?`,
  deleteText: ["Its images, results, jobs and the board's notes are removed from the server for good."],
  deleteSure: "Delete for good",
  typeToConfirm: (id) => `Type ${id} to confirm`,
  deleted: (id) => `Case ${id} was deleted.`,
};
