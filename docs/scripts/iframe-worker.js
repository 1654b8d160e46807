// Browsers start no worker for a page that was opened from the disk. For these pages alone a hidden
// frame does the work of the search instead; the theme asks for it by the name Worker.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inside = frame.contentWindow
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.frame = new Promise(resolve => {
        const script = frame.contentDocument.createElement("script")
        script.src = url
        script.onload = () => resolve(inside)
        frame.contentDocument.head.append(script)
      })
    }
    postMessage(data) {
      this.frame.then(inside => inside.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
