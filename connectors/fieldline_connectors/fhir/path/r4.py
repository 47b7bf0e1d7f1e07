"""Facts of FHIR R4 that JSON does not carry: which elements have a choice of types, which texts are dates."""

_CHOICES = """
abatement additive age allowed amount answer asNeeded author born bounds characteristic chargeItem citeAs code collected
concentration content created date deceased defaultValue definition detail diagnosis dose doseNumber due duration effective
entity event example fastingStatus fixed identified indication item legallyBinding location manufacturer maxValue medication
minValue minimumVolume module multipleBirth name occurred occurrence offset onset participantEffective pattern performed period
presentation probability procedure product quantity rate reported scheduled seriesDoses serviced source start statusReason
strength studyEffective subject substance substanceDefinition target time timing topic used value when
"""
CHOICES = frozenset(_CHOICES.split())
"""Elements of R4 that are written with their type in the name: `value` as `valueQuantity`."""

_TYPES = """
Address Age Annotation Attachment Base64Binary Boolean Canonical Code CodeableConcept CodeableReference Coding ContactDetail
ContactPoint Contributor Count DataRequirement Date DateTime Decimal Distance Dosage Duration Expression HumanName Id Identifier
Instant Integer Integer64 Markdown Meta Money Oid ParameterDefinition Period PositiveInt Quantity Range Ratio RatioRange
Reference RelatedArtifact SampledData Signature String Time Timing TriggerDefinition UnsignedInt Uri Url UsageContext
Uuid
"""
TYPES = frozenset(_TYPES.split())
"""The types of such elements, as they end the name."""

_DATES = """
answerDate approvalDate birthDate bornDate deceasedDate defaultValueDate dueDate fixedDate lastReviewDate maxValueDate
minValueDate nextScheduled patternDate servicedDate startDate timingDate valueDate
"""
DATES = frozenset(_DATES.split())
"""Elements of R4 that are always dates; other texts that look like a date may be date-times."""
