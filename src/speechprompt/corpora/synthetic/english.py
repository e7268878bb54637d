"""Varied English for pre-training encoders and unit LMs: no task, many words, all sounds.

Statements, questions, requests, word lists, numbers, spelled and single words, over more than a
thousand words. Some are said twice, as people do when they are asked again: a unit LM learns from
it to look back. Texts may repeat, also across splits; voices do not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from speechprompt.corpora.manifest import SPLITS
from speechprompt.corpora.synthetic.grammar import choose, fill, text_of
from speechprompt.corpora.synthetic.speech import plan_sentences
from speechprompt.corpora.synthetic.synthesis import Utterance

__all__ = ["PATTERNS", "WORDS", "plan"]

STREAM = 4
SAID_TWICE = 0.15
PATTERNS = (
    "{the} {noun} {past} {by} {the} {noun}",
    "{the} {quality} {noun} {past} {the} {noun}",
    "{the} {noun} and {the} {noun} {past} {how}",
    "{name} {past} {the} {quality} {noun} {when}",
    "{name} and {name} {past} {by} {the} {place}",
    "{they} {can} {verb} {the} {noun} {when}",
    "{they} {cannot} {verb} {by} {the} {quality} {place}",
    "{ask} {can} {they} {verb} {the} {quality} {noun}",
    "{ask} is {the} {noun} so {quality}",
    "{can} {name} {verb} {the} {noun}",
    "{verb} {the} {noun} {how}",
    "please {verb} {the} {quality} {noun} {by} {the} {place}",
    "if {they} {verb} {how} {the} {noun} {can} {verb}",
    "{when} {the} {noun} was {quality} but {the} {noun} was {quality}",
    "there are {number} {quality} things {by} {the} {place}",
    "it is {number} {number} and {they} {verb} {how}",
    "{quality} {noun}",
    "{verb} {noun} {place} {quality}",
    "{noun} {quality} {past} {how} {noun}",
    "{place} {verb} {number} {noun} {name} {quality}",
    "{number} {number} {number}",
    "{digit} {digit} {digit} {digit} {digit}",
    "{digit}",
    "{number}",
    "{noun}",
    "{verb}",
    "{quality}",
    "{name}",
    "{letter} {letter} {letter} {letter}",
)
WORDS = {
    key: tuple(words.split())
    for key, words in {
        "the": "the a my your his her our their this that every each some no one",
        "they": "i you we they he she it who",
        "ask": "why how when where since because",
        "name": """
            Adam Agnes Albert Alice Amber Andrew Anna Arthur Barbara Betty Bruce Carl Carol
            Charles Chloe Claire Daisy Daniel Diana Donald Edith Edward Ellen Eric Esther Eva
            Felix Fiona Florence George Gloria Harold Harriet Heather Howard Hugh Irene Isaac
            Ivan Jane Jasper Jenny Joyce Judith Julia Keith Kevin Laura Leonard Lewis Linda
            Louise Lucy Margaret Martha Matthew Maurice Megan Nathan Nigel Nora Olive Oliver
            Patrick Peggy Philip Phoebe Ralph Raymond Rebecca Robin Roger Ruth Samuel Sheila
            Simon Sophie Stella Stephen Susan Sylvia Theodore Thomas Timothy Valerie Vera
            Vincent Violet Walter Wendy William Yvonne Zoe
        """,
        "noun": """
            accident account acid action actor adventure advice affair agent airport album alarm
            anger angel animal answer apple army arrow artist aunt author axe baby badge bag
            balloon banana band bank bath battle beach bean bear beard bed bee bell belt bench
            bicycle bill bird bit blanket blood board boat body bomb bone book boot bottle bowl
            box boy branch bread breath brick bridge brother brush bubble bucket bus bush butter
            button cabin cage cake camera camp candle captain card carpet cat cave chain chair
            chalk change cheese chicken chief child chin choice church cigar circle city clay
            clock cloth cloud coast coin collar colour comb company copper cord corn cottage
            cotton cough country cousin cow crowd crown cup curtain cushion dance danger
            daughter deer desk diamond dish doctor dog doll dollar donkey door doubt dragon
            dream dress drink drum duck dust eagle ear earth edge egg engine error evening
            example eye face factory family father feather fence fever field fight finger fire
            fish flag flame floor flour flower fly fog food foot force forest fork fox frame
            friend frog fruit game garage gas gate ghost giant gift giraffe girl glass glove
            goat gold goose grain grape grass growth guard guest guide guitar gun hair half
            hammer hand harbour hat hawk head heart heat hero hill hobby hole honey hook horn
            horse hotel hour house ice idea industry ink insect iron island ivory jacket jail
            jam jaw jewel job join joke journey judge juice jungle justice kettle key kick king
            kiss kitchen kite knee knife knot lace ladder lady lake lamb language laugh law
            lawyer leaf leather leg lemon letter liquid lip list lizard loaf lock lunch machine
            magic mail maid manager map marble mask match meal measure meat medal message metal
            milk mind minute mirror mist money monkey month moon morning mother motion mountain
            mouse mouth movie mud muscle music mustard nail name nation neck needle nephew nest
            net news night noise north nose note number nurse nut oak object ocean office oil
            onion opera orange orchard oven owl owner oyster page pain paint pair palace palm
            pan paper parade parcel park part passage path peach pen people pepper person phone
            photo piano picture pig pigeon pillow pilot pin pipe pizza plant plate poison police
            pond pony pool porch pot potato powder power prayer president price prince prison
            prize problem puppy purse quality quarter queen question quiet quilt rabbit rain rat
            reason record religion report rhythm rice riddle rifle ring river road robin rock
            roof room root rope rose route sail salt sand sauce scale scarf school science
            scissors screen sea seat secret seed shade shadow shape sheep sheet shelf shell ship
            shirt shoe shop shoulder shower side sign silk silver singer sister size skate skin
            skirt sky sleep smell smile smoke snail snake snow soap sock sofa soil soldier song
            sound soup south spade spark spider spoon spring square squirrel stage stamp star
            station steam steel stem step stew stick stocking stomach stone storm story stove
            stranger straw stream street string sugar suit summer sun surprise sweater table
            tail tea teacher team television tent theory thief thing thought thread throat thumb
            thunder ticket tiger time toad toe tongue tooth touch towel tower town toy track
            trade train treasure tree trick trouble truck trumpet turkey twig uncle union unit
            value van vase vegetable vessel victory village violin vision voice volcano voyage
            wagon waist wall war watch water wave wax weather week weight west whale wheat wheel
            whip whistle wife window wine wing winter wire wish witch wolf woman wood wool word
            work worm wound wrist writer yard yarn year yellow youth zebra zone zoo
        """,
        "place": """
            airport attic bakery bank barn basement bathroom beach bridge castle cellar church
            cinema college corner desert farm field forest garage garden hall harbour hospital
            hotel house island jungle kitchen lake library market meadow museum office palace
            park prison river school shop stadium station street theatre tower valley village
            zoo
        """,
        "quality": """
            able absent afraid ancient angry awful awake bad beautiful big bitter black blind
            blue bold brave bright broken brown busy calm careful cheap clean clear clever
            cloudy cold common cool crazy cruel curious curved dangerous dark dead deep delicate
            different dirty dry dull early easy electric empty equal evil false famous fast fat
            few fierce fine firm flat foolish foreign free fresh full funny gentle glad good
            grand gray great green guilty happy hard healthy heavy high hollow huge hungry ill
            important jealous jolly juicy kind large last late lazy left light like little
            lonely long loose lost loud lovely low lucky mad medical military mixed modern
            narrow natural new nice noisy normal odd old open orange other pale past perfect
            physical pink plain pleasant polite poor possible present pretty private proud
            public pure purple quick quiet rare ready real red regular responsible rich right
            rough round royal rude sad safe same second secret serious sharp short shut shy sick
            silent silly simple slow small smooth soft solid sour special sticky stiff strange
            strong sudden sunny sweet tall tasty tender thick thin thirsty tight tiny tired true
            ugly unusual usual violent warm weak wet white whole wide wild wise wooden wrong
            yellow young
        """,
        "verb": """
            add agree allow answer appear ask attack bake bathe beg behave believe blow boil
            borrow bounce break breathe bring brush build burn buy call carry catch cause change
            charge chase cheat check chew choose clap clean climb close collect come complain
            copy cost cough count cover crash crush cry cure cut damage dance deliver describe
            destroy dig disagree discover divide doubt drag draw dream dress drink drive drop
            earn eat end enjoy enter escape explain face fade fail fall fasten fear feed feel
            fetch fight fill find finish fix float fly fold follow force forget forgive freeze
            frighten gather get give go grab greet grow guess hang happen hate hear heat help
            hide hit hold hope hug hunt hurry imagine invite itch jog join jump keep kick kill
            kneel knock know laugh launch lead learn leave lend lie lift listen live look lose
            love make march mark marry measure meet melt mend miss mix move need notice obey
            offer open order owe own pack paint pass pay pick pinch plan play point polish pour
            praise press pretend prevent promise protect pull punch push put race raise reach
            read receive refuse remember remove repair reply rest return ride ring rise roll rub
            ruin rule run rush save say scratch scream see sell send serve shake share shave
            shine shoot shout show shrug sing sink sit sleep slide smash smell smile sneeze
            speak spell spend spill spoil spread squeeze stand stare start stay steal stir stop
            stretch study suggest swallow swear swim swing switch take talk taste teach tease
            tell thank think throw tie tour travel treat trust try turn twist use vanish visit
            wait wake walk want warn wash watch wave wear weigh whisper win wish wonder work
            worry wrap write yawn yell
        """,
        "past": """
            asked became began believed blew bought broke brought built burned called came
            carried caught changed chased chose cleaned climbed covered crossed dreamed drew
            dropped drove enjoyed felt finished followed forgot fought found froze gathered gave
            grew guarded hated heard helped hid hoped invited joined judged jumped kept killed
            kissed knew laughed left liked lost loved measured met missed moved noticed opened
            ordered owned paid passed planned pleased pulled pushed reached read refused
            remembered rode said sang saw sent shook showed sold stole stopped studied taught
            thanked thought threw told took touched treated trusted turned used visited walked
            washed watched welcomed wished won wore wrote
        """,
        "can": "can could did does may might must shall should will would",
        "cannot": "can't couldn't didn't doesn't don't never won't wouldn't shouldn't",
        "by": """
            about above across after against along around at before behind below beside between
            beyond by from in inside into near off on onto out over past through toward under
            until upon with without
        """,
        "how": """
            again alone badly carefully easily exactly gently happily hardly loudly madly nearly
            often only perhaps quickly quietly rarely really sadly seldom slowly softly suddenly
            together too usually very well wisely
        """,
        "when": """
            already always earlier finally later now once sometimes soon then today tomorrow
            tonight yesterday monday tuesday wednesday thursday friday saturday sunday january
            february march april may june july august september october november december
        """,
        "number": """
            zero one two three four five six seven eight nine ten eleven twelve thirteen
            fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty
            seventy eighty ninety hundred thousand million first second third fourth fifth half
        """,
        "digit": "zero one two three four five six seven eight nine",
        "letter": "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    }.items()
}


def plan(seed: int, sizes: Mapping[str, int]) -> list[Utterance]:
    """Decide who says what; label ``text``, in upper case.

    The first texts of a split stay the same if more are wanted.

    Args:
        seed: Seed of the voices' split, the texts, deliveries and noises.
        sizes: Split -> number of utterances.
    """
    rows = {}
    for number, split in enumerate(SPLITS):
        generator = np.random.default_rng((seed, STREAM, number))
        rows[split] = [{"text": _draw_text(generator)} for _ in range(sizes[split])]
    return list(plan_sentences(seed, STREAM, rows))


def _draw_text(generator: np.random.Generator) -> str:
    text = text_of(fill(choose(generator, PATTERNS), WORDS, generator))
    return f"{text} {text}" if generator.random() < SAID_TWICE else text
