/*
 * Segment nuclei in the open image with qpbridge, from QuPath's script editor.
 *
 * Draw annotations around what you want to have segmented, open this script in
 * Automate > Script editor, set QPBRIDGE below if the program is not on the PATH, and run it.
 * If annotations are selected when you run it, only those are segmented.
 *
 * What it does: saves the data of the open image, starts qpbridge for this project and this image,
 * shows its output in the log, and shows the new objects. 'Run > Kill running script' ends
 * qpbridge too, and leaves the project as it was.
 */

import java.util.concurrent.TimeUnit

checkMinVersion("0.5.0")

// ------------------------------------------------------------------ what you may want to change
def QPBRIDGE = ["qpbridge"]     // e.g. ["C:/Users/me/venv/Scripts/qpbridge.exe"]
def OPTIONS = []                // e.g. ["--mpp", "0.25"]; 'qpbridge segment --help' lists them
// -----------------------------------------------------------------------------------------------

def project = getProject()
def entry = getProjectEntry()
def imageData = getCurrentImageData()
if (project == null || entry == null || imageData == null) {
    throw new IllegalStateException("Open an image of a project first: qpbridge works on projects")
}

def selected = getSelectedObjects().findAll { it.isAnnotation() }
def command = QPBRIDGE + ["segment", project.getPath().toString(), "--image", entry.getID()]
selected.each { command += ["--selected", it.getID().toString()] }
command += OPTIONS
command = command*.toString()

// qpbridge reads what is on disk, so what was just drawn has to be there
entry.saveImageData(imageData)
project.syncChanges()

println "To run the same in a terminal:"
println command.collect { it ==~ /[\w@%+=:,.\/\\-]+/ ? it : '"' + it + '"' }.join(" ")

def builder = new ProcessBuilder(command)
builder.redirectErrorStream(true)
builder.environment().put("PYTHONUNBUFFERED", "1")
builder.environment().put("PYTHONIOENCODING", "utf-8")

def process
try {
    process = builder.start()
} catch (IOException e) {
    throw new IOException("Can't start '" + command[0] + "'. Set QPBRIDGE at the top of this script " +
            "to where qpbridge is installed ('which qpbridge' or 'where qpbridge' tells)", e)
}
process.getOutputStream().close()

// its own thread reads the output, so that this one can be interrupted while it waits
def output = Thread.startDaemon("qpbridge output") {
    process.getInputStream().eachLine("UTF-8") { line -> println line }
}

def exitCode
try {
    exitCode = process.waitFor()
    output.join(TimeUnit.SECONDS.toMillis(10))
} catch (InterruptedException e) {
    // children first: a worker that lost its parent would go on
    process.descendants().forEach { it.destroyForcibly() }
    process.destroyForcibly()
    println "Cancelled; the project is as it was before"
    throw e
}
if (exitCode != 0) {
    throw new RuntimeException("qpbridge ended with exit code " + exitCode + "; its message is above")
}

// show what is on disk now
def fresh = entry.readImageData()
try {
    imageData.getHierarchy().setHierarchy(fresh.getHierarchy())
    def known = imageData.getHistoryWorkflow().getSteps()*.getName() as List
    def steps = fresh.getHistoryWorkflow().getSteps()
    def added = steps.findAll { it.getName().startsWith("qpbridge: ") }
    def before = known.count { it.startsWith("qpbridge: ") }
    imageData.getHistoryWorkflow().addSteps(added.drop(before))
    if (imageData.getImageType() != fresh.getImageType()) {
        imageData.setImageType(fresh.getImageType())
    }
    fireHierarchyUpdate()
    imageData.setChanged(false)
} finally {
    // QuPath 0.5 can't close image data, only its server
    (fresh instanceof AutoCloseable ? fresh : fresh.getServer()).close()
}
println "Detections now: " + getDetectionObjects().size()
