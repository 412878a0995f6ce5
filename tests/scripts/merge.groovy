// What segment_in_qupath.groovy takes into the open image, with stand-ins for QuPath's classes that
// have the methods it uses. args: the script. Prints a line for each check that fails.

class Geometry {
    List box
    Geometry buffer(double d) { new Geometry(box: [box[0] - d, box[1] - d, box[2] + d, box[3] + d]) }
    boolean covers(Geometry o) { box[0] <= o.box[0] && box[1] <= o.box[1] && box[2] >= o.box[2] && box[3] >= o.box[3] }
}

class Roi {
    double x, y, x2, y2
    boolean isArea() { true }
    Geometry getGeometry() { new Geometry(box: [x, y, x2, y2]) }
    boolean contains(double px, double py) { x <= px && px <= x2 && y <= py && py <= y2 }
    double getCentroidX() { (x + x2) / 2 }
    double getCentroidY() { (y + y2) / 2 }
}

class Thing {
    UUID ID; Roi ROI; String name; Object pathClass; Object color
    boolean locked, annotation, cell, rootObject, TMACore, missing
    boolean hasROI() { ROI != null }
    Thing parent; List childObjects = []
    Map measurements = [:], metadata = [:]
    Map getMeasurementList() { measurements }
    String getDisplayedName() { name ?: "annotation" }
    void removeChildObjects(list) { childObjects.removeAll { a -> list.any { it.is(a) } }; list.each { it.parent = null } }
    void clearChildObjects() { childObjects.each { it.parent = null }; childObjects = [] }
    void addChildObjects(list) {
        list.each { it.parent?.childObjects?.removeAll { a -> a.is(it) }; it.parent = this }
        childObjects.addAll(list)
    }
}

class Hierarchy {
    Thing rootObject = new Thing(ID: UUID.randomUUID(), rootObject: true)
    int fired = 0
    List getAllObjects(boolean withRoot) { def out = []; walk(rootObject, out); out }
    void walk(Thing t, List out) { t.childObjects.each { out << it; walk(it, out) } }
    void fireHierarchyChangedEvent(source) { fired++ }
}

class Workflow { List steps = []; void addSteps(list) { steps.addAll(list) } }
class Step { String name }
class Image {
    Hierarchy hierarchy = new Hierarchy(); Workflow historyWorkflow = new Workflow()
    Object imageType; boolean touched = false
    void setChanged(boolean b) { touched = true }
}

class World {
    static ours(int n) { UUID.fromString(String.format("71706272-0000-8000-8000-%012d", n)) }
    static UUID drawn(int n) { UUID.fromString(String.format("00000000-0000-4000-8000-%012d", n)) }
    Image image = new Image()
    Thing add(Map facts, Thing below = null) { def t = new Thing(facts); (below ?: image.hierarchy.rootObject).addChildObjects([t]); t }
    Thing find(UUID id) { image.hierarchy.getAllObjects(false).find { it.ID == id } }
    static Roi box(x, y, x2, y2) { new Roi(x: x, y: y, x2: x2, y2: y2) }
    World region(int n, Roi roi) { add(ID: drawn(n), ROI: roi, name: "r" + n, annotation: true); this }
    World nucleus(int n, double x, double y, UUID below, Map more = [:]) {
        add([ID: ours(n), ROI: box(x, y, x + 4, y + 4), measurements: ["Area": n as double]] + more, find(below)); this
    }
}

def script = new GroovyShell(this.class.classLoader).parse(new File(args[0]))
def failed = 0
def check = { String what, boolean ok -> if (!ok) { println "FAILED: " + what; failed++ } }

// two regions, a nucleus in each from before; on the disk these are replaced by 11 and 12
def start = {
    def w = new World().region(1, World.box(0, 0, 100, 100)).region(2, World.box(200, 0, 300, 100))
    w.nucleus(1, 10, 10, World.drawn(1)).nucleus(2, 210, 10, World.drawn(2))
}
def disk = {
    def w = new World().region(1, World.box(0, 0, 100, 100)).region(2, World.box(200, 0, 300, 100))
    w.nucleus(11, 50, 50, World.drawn(1)).nucleus(12, 250, 50, World.drawn(2))
    w.find(World.drawn(1)).measurements["Nuclei: Count"] = 1.0d
    w.find(World.drawn(1)).metadata["qpbridge nuclei"] = "a model"
    w.image.historyWorkflow.addSteps([new Step(name: "qpbridge: nuclei")])
    w
}
def run = { World live, World onDisk, Closure meanwhile ->
    def before = script.snapshot(live.image.hierarchy)
    meanwhile(live)
    script.merge(live.image, onDisk.image, before, 0)
}

def live = start()
def done = run(live, disk()) { }
check("new ones come, old ones go", done.added == 2 && done.removed == 2)
check("below the live region", live.find(World.ours(11)).parent.is(live.find(World.drawn(1))))
check("the region's summary", live.find(World.drawn(1)).measurements["Nuclei: Count"] == 1.0d)
check("the region's provenance", live.find(World.drawn(1)).metadata["qpbridge nuclei"] == "a model")
check("the history", live.image.historyWorkflow.steps*.name == ["qpbridge: nuclei"])
check("QuPath is told once", live.image.hierarchy.fired == 1)
check("the image is never marked as unchanged", !live.image.touched)

live = start()
done = run(live, disk()) { it.region(9, World.box(0, 200, 50, 250)); it.find(World.drawn(2)).pathClass = "Tumor" }
check("what was drawn meanwhile stays", live.find(World.drawn(9)) != null)
check("a class that was given meanwhile stays", live.find(World.drawn(2)).pathClass == "Tumor")
check("and its region gets its nuclei", live.find(World.ours(12)) != null)

live = start()
done = run(live, disk()) { it.image.hierarchy.rootObject.removeChildObjects([it.find(World.drawn(2))]) }
check("nothing for a region that is gone", live.find(World.ours(12)) == null && done.lost["r2"] == "deleted")
check("the other region is done", live.find(World.ours(11)) != null && live.find(World.ours(1)) == null)

live = start()
done = run(live, disk()) { it.find(World.drawn(1)).ROI = World.box(0, 0, 150, 100) }
check("nothing for a region that was enlarged", live.find(World.ours(11)) == null && done.lost["r1"] == "changed")
check("what was found there before stays", live.find(World.ours(1)) != null)

live = start()
done = run(live, disk()) { it.find(World.drawn(1)).ROI = World.box(0, 0, 40, 40) }
check("nothing outside of a region that was made smaller", live.find(World.ours(11)) == null && done.lost.isEmpty())

// region 9 is drawn after the snapshot and before all is saved, and searched
def late = {
    def w = disk().region(9, World.box(0, 200, 50, 250)).nucleus(19, 10, 210, World.drawn(9))
    w.find(World.drawn(9)).with { measurements["Nuclei: Count"] = 1.0d; metadata["DESCRIPTION"] = "old" }
    w
}
live = start()
done = run(live, late()) { it.region(9, World.box(0, 200, 50, 250)); it.find(World.drawn(9)).metadata["DESCRIPTION"] = "new" }
check("what is found in a region drawn just then comes", live.find(World.ours(19))?.parent?.is(live.find(World.drawn(9))))
check("and its summary", live.find(World.drawn(9)).measurements["Nuclei: Count"] == 1.0d)
check("but nothing over what was written in it", live.find(World.drawn(9)).metadata["DESCRIPTION"] == "new")
live = start()
done = run(live, late()) { it.region(9, World.box(0, 200, 150, 250)) }
check("nothing if it was enlarged since", live.find(World.ours(19)) == null && done.lost["r9"] == "changed")
check("nor a summary", live.find(World.drawn(9)).measurements.isEmpty())

// a region that was drawn before the run, around a nucleus that is found again as it was
def again = { w -> w.region(3, World.box(5, 5, 30, 30)); w }
live = again(start())
def onDisk = again(new World().region(1, World.box(0, 0, 100, 100)).region(2, World.box(200, 0, 300, 100)))
onDisk.nucleus(1, 10, 10, World.drawn(3)).nucleus(2, 210, 10, World.drawn(2))
done = run(live, onDisk) { }
check("a nucleus that was found again lies below its new region",
        live.find(World.ours(1)).parent.is(live.find(World.drawn(3))) && live.find(World.drawn(1)).childObjects.isEmpty())
check("another one stays where it is", live.find(World.ours(2)).parent.is(live.find(World.drawn(2))) && done.added == 0)
live = again(start())
done = run(live, onDisk) { it.image.hierarchy.rootObject.removeChildObjects([it.find(World.drawn(3))]) }
check("unless that region is gone", live.find(World.ours(1)).parent.is(live.find(World.drawn(1))))
live = again(start())
done = run(live, onDisk) {
    def nucleus = it.find(World.ours(1))
    nucleus.parent.removeChildObjects([nucleus]); it.find(World.drawn(2)).addChildObjects([nucleus])
}
check("or a person moved it meanwhile", live.find(World.ours(1)).parent.is(live.find(World.drawn(2))))

// and region 1 is enlarged just then: what was searched is what is there
live = start()
onDisk = disk()
onDisk.find(World.drawn(1)).ROI = World.box(0, 0, 150, 100)
done = run(live, onDisk) { it.find(World.drawn(1)).ROI = World.box(0, 0, 150, 100) }
check("a region enlarged before it was saved is done", live.find(World.ours(11)) != null && done.lost.isEmpty())

def core = { World w -> w.add(ID: World.drawn(5), ROI: World.box(0, 200, 90, 290), name: "A-1", TMACore: true); w }
live = core(start())
done = run(live, core(disk()).nucleus(15, 30, 230, World.drawn(5)).with {
    it.find(World.drawn(5)).measurements["Nuclei: Count"] = 1.0d
    it.find(World.drawn(5)).metadata["qpbridge nuclei"] = "a model"
    it
}) { it.find(World.drawn(5)).metadata["Case ID"] = "7" }
check("what was found in a core goes below it", live.find(World.ours(15)).parent.is(live.find(World.drawn(5))))
check("a core's summary", live.find(World.drawn(5)).measurements["Nuclei: Count"] == 1.0d)
check("a core's notes", live.find(World.drawn(5)).metadata == ["qpbridge nuclei": "a model", "Case ID": "7"])
check("a core can be segmented", script.canBeSegmented(live.find(World.drawn(5))))
check("a missing core can't", !script.canBeSegmented(new Thing(ROI: World.box(0, 0, 1, 1), TMACore: true, missing: true)))
check("a nucleus can't", !script.canBeSegmented(live.find(World.ours(15))))

live = start()
onDisk = disk().nucleus(13, 10, 11, World.drawn(1))
done = run(live, onDisk) { it.find(World.ours(1)).pathClass = "Other" }
check("a nucleus that was edited meanwhile stays", live.find(World.ours(1)).pathClass == "Other" && done.edited == 1)
check("and is not put in a second time", live.find(World.ours(13)) == null)

live = start()
onDisk = start()
done = run(live, onDisk) { it.find(World.drawn(1)).removeChildObjects([it.find(World.ours(1))]) }
check("a nucleus that was deleted meanwhile does not come back", live.find(World.ours(1)) == null)

live = start()
onDisk = disk()
onDisk.add(ID: World.drawn(77), ROI: World.box(60, 60, 70, 70), annotation: true)
done = run(live, onDisk) { }
check("objects of others are not taken from the disk", live.find(World.drawn(77)) == null)

// what a person measures, writes or takes away on a region meanwhile, beside what the run has changed
def noted = { World w ->
    w.find(World.drawn(1)).with {
        measurements.putAll(["Length": 5.0d, "Nuclei: Count": 9.0d, "Odd": Double.NaN, "Nuclei: Old": 1.0d])
        metadata.putAll([DESCRIPTION: "first", GONE: "x"])
    }
    w
}
live = noted(start())
onDisk = noted(start())
onDisk.find(World.drawn(1)).with {
    measurements["Nuclei: Count"] = 1.0d
    measurements.remove("Nuclei: Old")
    metadata["qpbridge nuclei"] = "a model"
}
done = run(live, onDisk) {
    it.find(World.drawn(1)).with {
        measurements.putAll(["Length": 7.0d, "Odd": 3.0d, "Own": 2.0d])
        metadata["DESCRIPTION"] = "second"
        metadata.remove("GONE")
    }
}
check("what was measured meanwhile stays, beside what the run measured",
        live.find(World.drawn(1)).measurements == ["Length": 7.0d, "Nuclei: Count": 1.0d, "Odd": 3.0d, "Own": 2.0d])
check("what was written meanwhile stays, beside what the run noted",
        live.find(World.drawn(1)).metadata == [DESCRIPTION: "second", "qpbridge nuclei": "a model"])

// a gland of ours with a nucleus in it: both new; and old ones whose gland goes, with a drawn one in it
live = start()
live.add([ID: World.ours(30), ROI: World.box(5, 5, 30, 30), annotation: true], live.find(World.drawn(1)))
live.add([ID: World.drawn(31), ROI: World.box(6, 6, 9, 9), annotation: true], live.find(World.ours(30)))
onDisk = disk()
onDisk.add([ID: World.ours(40), ROI: World.box(45, 45, 60, 60), annotation: true], onDisk.find(World.drawn(1)))
onDisk.nucleus(41, 46, 46, World.ours(40))
done = run(live, onDisk) { }
check("a nucleus in a new gland lies below it", live.find(World.ours(41))?.parent?.is(live.find(World.ours(40))))
check("the old gland is gone", live.find(World.ours(30)) == null)
check("what a person drew in it moved up", live.find(World.drawn(31))?.parent?.is(live.find(World.drawn(1))))
println failed ? failed + " failed" : "all good"
