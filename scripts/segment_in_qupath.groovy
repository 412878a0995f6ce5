/*
 * Segment nuclei in the open image with qpbridge, from QuPath's script editor.
 *
 * Draw annotations around what you want to have segmented, open this script in
 * Automate > Script editor, set QPBRIDGE below if the program is not on the PATH, and run it.
 * If annotations or TMA cores are selected when you run it, only those are segmented; in a TMA
 * without annotations, all cores that are not marked as missing.
 *
 * What it does: saves the data of the open image, starts qpbridge for this project and this image,
 * shows its output in the log, and takes the new objects into the open image. Go on drawing while
 * it runs: what you draw, change or delete meanwhile stays as you made it, and QuPath asks as
 * always whether to save it. A region that you deleted or enlarged meanwhile gets no new objects;
 * the script says so. 'Run > Kill running script' ends qpbridge too, and leaves the project as it
 * was.
 */

import java.util.concurrent.FutureTask
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

def selected = getSelectedObjects() as List
def regions = selected.findAll { canBeSegmented(it) }
if (selected && !regions) {
    throw new IllegalStateException("Nothing that is selected can be segmented: only annotations " +
            "that enclose an area can, and TMA cores that are not marked as missing, not lines, " +
            "points or detections. Select such, or select nothing to segment in all of them")
}
if (regions.size() < selected.size()) {
    println "Left out of the selection, since only annotations that enclose an area, and TMA cores " +
            "that are not marked as missing, can be segmented: " +
            (selected.size() - regions.size()) + " of " + selected.size()
}

def command = QPBRIDGE + ["segment", project.getPath().toString(), "--image", entry.getID()]
if (regions.size() > 20) {
    // a command line holds 32,000 characters on Windows
    def list = File.createTempFile("qpbridge-selected-", ".txt")
    list.deleteOnExit()
    list.setText(regions.collect { it.getID().toString() }.join("\n") + "\n", "UTF-8")
    command += ["--selected-from", list.getPath()]
} else {
    regions.each { command += ["--selected", it.getID().toString()] }
}
command += OPTIONS
command = command*.toString()

// What there is when the run begins, to tell afterwards what a person did meanwhile.
def before = snapshot(imageData.getHierarchy())
// qpbridge reads what is on disk, so what was just drawn has to be there
entry.saveImageData(imageData)
project.syncChanges()
def stepsBefore = imageData.getHistoryWorkflow().getSteps().size()

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

def fresh = entry.readImageData()
try {
    def done = onDisplayThread { merge(imageData, fresh, before, stepsBefore) }
    println done.added + " objects added, " + done.removed + " replaced"
    if (done.edited) {
        println done.edited + " that you changed meanwhile were kept as they are now"
    }
    done.lost.each { name, why ->
        println "Not put in: what was found in '" + name + "', which was " + why +
                " while it was segmented; run again to segment it as it is now"
    }
} finally {
    // QuPath 0.5 can't close image data, only its server
    (fresh instanceof AutoCloseable ? fresh : fresh.getServer()).close()
}
println "Detections now: " + getDetectionObjects().size()


/** Whether qpbridge made an object: the ids of its objects begin with "qpbr". */
static boolean isOurs(object) {
    return object.getID().toString().startsWith("71706272-")
}

/** Whether an object is one that can be a region. */
static boolean canBeSegmented(object) {
    return object.hasROI() && object.getROI().isArea() &&
            (object.isTMACore() ? !object.isMissing() : object.isAnnotation())
}

/** The nearest annotation or core around an object that qpbridge did not make: null if none. */
static def regionOf(object) {
    def above = object.getParent()
    while (above != null && !above.isRootObject() && isOurs(above)) {
        above = above.getParent()
    }
    return above == null || above.isRootObject() ? null : above
}

/**
 * What a person can change of an object. Regions of interest never change in QuPath, they are
 * replaced, and a class is one and the same for all objects of it.
 */
static List stateOf(object) {
    def nucleus = object.isCell() ? object.getNucleusROI() : null
    return [object.getROI(), nucleus, object.getPathClass(), object.getName(), object.isLocked(),
            object.getColor()]
}

static boolean isSame(List one, List other) {
    return one[0].is(other[0]) && one[1].is(other[1]) && one[2..5] == other[2..5]
}

static boolean isValue(Number value, Number other) {
    return other != null && Double.compare(value.doubleValue(), other.doubleValue()) == 0
}

/** Whether an object is one that a run notes on what it found: an annotation or core. */
static boolean isNoted(object) {
    return object.isAnnotation() || object.isTMACore()
}

/** The id of what an object lies below: null for the root, whose id is another in each hierarchy. */
static def idAbove(object) {
    def above = object.getParent()
    return above == null || above.isRootObject() ? null : above.getID()
}

/** By id: the state of each object, where it lies, and what annotations say of themselves. */
static Map snapshot(hierarchy) {
    def before = [:]
    hierarchy.getAllObjects(false).each {
        def drawn = isNoted(it)
        before[it.getID()] = [state: stateOf(it), region: regionOf(it)?.getID(), above: idAbove(it),
                              values: drawn ? new HashMap(it.getMeasurements()) : [:],
                              notes: drawn ? new HashMap(it.getMetadata()) : [:],
                              name: drawn ? it.getDisplayedName() : null]
    }
    return before
}

/** Run something where QuPath draws, so that nothing is drawn meanwhile; without display, here. */
static def onDisplayThread(Closure work) {
    def platform
    try {
        platform = Class.forName("javafx.application.Platform")
    } catch (ClassNotFoundException e) {
        return work()
    }
    def task = new FutureTask(work)
    try {
        platform.isFxApplicationThread() ? task.run() : platform.runLater(task)
    } catch (IllegalStateException e) {
        task.run()    // no display was started
    }
    return task.get()
}

/**
 * Take what qpbridge wrote into the open image, below the annotations that are there now. Only
 * objects of qpbridge's come and go. The image stays marked as changed: whether what a person drew
 * meanwhile is saved is for them to say.
 */
static Map merge(imageData, fresh, Map before, int stepsBefore) {
    def hierarchy = imageData.getHierarchy()
    def lost = [:]
    def added = 0, removed = 0, edited = 0
    synchronized (hierarchy) {
        def root = hierarchy.getRootObject()
        def live = hierarchy.getAllObjects(false).collectEntries { [it.getID(), it] }
        def disk = fresh.getHierarchy().getAllObjects(false).collectEntries { [it.getID(), it] }

        // Whether what was found in a region fits it still: one that was made smaller was searched.
        // What was searched is on the disk, also of a region that was drawn while all was saved.
        def fits = [:].withDefault { id ->
            if (id == null) {
                return true
            }
            def now = live[id], then = before[id]
            def why = now == null ? "deleted" : null
            def searched = disk[id]?.getROI() ?: then?.state?.getAt(0)
            if (now != null && searched != null && !now.getROI().is(then?.state?.getAt(0)) &&
                    !searched.getGeometry().buffer(0.02).covers(now.getROI().getGeometry())) {
                why = "changed"
            }
            if (why != null) {
                lost[then?.name ?: now?.getDisplayedName() ?: id.toString()] = why
            }
            return why == null
        }
        def outside = { object, region ->
            // of a region that was made smaller, what lies outside of it now
            region != null && !live[region].getROI().is(before[region]?.state?.getAt(0)) &&
                    !live[region].getROI().contains(object.getROI().getCentroidX(), object.getROI().getCentroidY())
        }

        // What goes: ours, gone from the disk, and as it was.
        def going = new HashSet(), kept = []
        before.each { id, then ->
            def object = live[id]
            if (object == null || disk.containsKey(id) || !isOurs(object) || !fits[then.region]) {
                return
            }
            if (isSame(stateOf(object), then.state)) {
                going.add(object)
            } else {
                kept.add(object.getROI())
            }
        }
        edited = kept.size()

        // What comes: ours, new on the disk, in a region that is there, not twice.
        def coming = new LinkedHashMap()
        def isNew = { !before.containsKey(it.getID()) && !live.containsKey(it.getID()) && isOurs(it) }
        disk.values().findAll(isNew).each { object ->
            def region = regionOf(object)?.getID()
            def roi = object.getROI()
            if (!fits[region] || outside(object, region) ||
                    kept.any { it.contains(roi.getCentroidX(), roi.getCentroidY()) }) {
                return
            }
            def above = object.getParent()
            // below one of ours that a person deleted meanwhile: to what is around that
            while (!above.isRootObject() && !isNew(above) && !live.containsKey(above.getID())) {
                above = above.getParent()
            }
            coming[object] = above.isRootObject() ? root : live[above.getID()] ?: above
        }

        // Children that stay move up to what stays.
        going.groupBy { it.getParent() }.each { parent, objects ->
            def stays = parent
            while (going.contains(stays)) {
                stays = stays.getParent()
            }
            def orphans = objects.collectMany { it.getChildObjects() as List }.findAll { !going.contains(it) }
            parent.removeChildObjects(objects)
            stays.addChildObjects(orphans)
        }
        removed = going.size()
        coming.keySet().each { it.clearChildObjects() }
        coming.groupBy { it.value }.each { parent, pairs ->
            // a new object that is left out leaves what is in it to what is around it
            def below = parent
            while (!below.is(root) && !live.containsKey(below.getID()) && !coming.containsKey(below)) {
                below = regionOf(below) == null ? root : live[regionOf(below).getID()]
            }
            below.addChildObjects(pairs.keySet() as List)
        }
        added = coming.size()

        // Ours that was found again as it was, but lies in another region or gland now.
        def here = live + coming.keySet().collectEntries { [it.getID(), it] }
        disk.values().findAll { object ->
            def now = live[object.getID()], then = before[object.getID()], above = idAbove(object)
            now != null && then != null && isOurs(object) && above != then.above && idAbove(now) == then.above &&
                    fits[regionOf(object)?.getID()] && fits[then.region] &&
                    !outside(object, regionOf(object)?.getID()) && (above == null || here.containsKey(above))
        }.groupBy { idAbove(it) }.each { above, objects ->
            def moved = objects.collect { live[it.getID()] }
            moved.groupBy { it.getParent() }.each { parent, some -> parent.removeChildObjects(some) }
            (above == null ? root : here[above]).addChildObjects(moved)
        }

        // What qpbridge measured of objects that stay, and noted on regions.
        disk.each { id, object ->
            def now = live[id], then = before[id]
            def isRegion = isNoted(object) && !isOurs(object)
            if (now == null || !(isRegion || then != null && isOurs(object)) ||
                    !fits[isRegion ? id : then.region]) {
                return
            }
            if (then == null) {
                // drawn while all was saved: only what it lacks can be told to be of the run
                then = [values: object.getMeasurements().findAll { now.getMeasurements().containsKey(it.key) },
                        notes: object.getMetadata().findAll { now.getMetadata().containsKey(it.key) }]
            }
            def values = object.getMeasurements()
            if (!values.equals(now.getMeasurements())) {
                // only what the run has changed: what a person measured meanwhile stays
                def list = now.getMeasurementList()
                then.values.keySet().findAll { !values.containsKey(it) }.each { list.remove(it) }
                values.findAll { !isValue(it.value, then.values[it.key]) }
                        .each { name, value -> list.put(name, value as double) }
            }
            if (isNoted(object)) {
                // a description that a person writes is among these
                now.getMetadata().putAll(object.getMetadata().findAll { it.value != then.notes[it.key] })
            }
        }
    }

    // Steps that are on the disk and not here are those of the run.
    def steps = fresh.getHistoryWorkflow().getSteps()
    imageData.getHistoryWorkflow().addSteps(steps.drop(stepsBefore).findAll { it.getName().startsWith("qpbridge: ") })
    if (imageData.getImageType() == null || imageData.getImageType().name() == "UNSET") {
        imageData.setImageType(fresh.getImageType())
    }
    hierarchy.fireHierarchyChangedEvent(hierarchy)
    return [added: added, removed: removed, edited: edited, lost: lost]
}
